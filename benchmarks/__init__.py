"""What measures speed and statistics. Its figures are in docs/benchmarks.md, docs/statistics.md and docs/results.md."""
