"""Every model on one data set, tuned alike."""
