"""From a raw log to samples and a store: splits, negatives, leakage."""
