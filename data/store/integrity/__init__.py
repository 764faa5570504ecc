"""That a store holds what was written, that nobody removes it under a reader, and that its codes are in range."""
