"""Points that need no sampler: known ones, and those that were tried before."""
