"""The study query: ``mdaf-study``."""
