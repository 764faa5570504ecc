"""Processes: which one this is, those that it starts, and how signals end it."""
