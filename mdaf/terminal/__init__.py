"""Output that every command shares: safe standard streams, printable text, tables, progress bars."""
