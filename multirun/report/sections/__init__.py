"""The sections of a report, in sentences that are filled from its figures and from nothing else."""
