"""What a log and its finished store are held to: same ids, labels, no leakage, no single fact that decides."""
