"""What is computed from the rows of a split: scores, AUCs, and comparisons of two models on the same rows."""
