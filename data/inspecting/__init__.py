"""``python -m data inspect``: facts about a prepared store, plots of it, and the AUC of trivial rules."""
