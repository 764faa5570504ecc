"""What is in a prepared store: figures, plots, trivial baselines."""
