"""The rules that decide which split each row is in."""
