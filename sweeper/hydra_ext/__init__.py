"""What this program adds to Hydra: override texts, config sources, run folders, callbacks."""
