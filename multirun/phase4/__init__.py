"""Phase 4: which points are compared over which seeds, and which runs are missing."""
