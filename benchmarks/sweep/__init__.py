"""What the sweeper adds to each trial."""
