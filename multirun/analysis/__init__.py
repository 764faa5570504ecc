"""Figures of many runs: intervals, paired differences, tests, verdicts."""
