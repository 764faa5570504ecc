"""A trained model scores new rows: ``mdaf-predict`` and ``mdaf.load``."""
