"""The commands of ``mdaf-study``, and what they have in common: options, tables, one line for a mistake."""
