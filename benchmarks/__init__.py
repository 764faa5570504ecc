"""What measures speed; docs/benchmarks.md holds what it said."""
