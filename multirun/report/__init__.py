"""The report: written from figures, and verified against the runs."""
