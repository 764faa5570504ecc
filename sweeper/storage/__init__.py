"""Study databases: opening them, waiting for them, reading them fast."""
