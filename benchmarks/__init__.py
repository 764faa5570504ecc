"""Measures speed; docs/benchmarks.md holds what it said."""
