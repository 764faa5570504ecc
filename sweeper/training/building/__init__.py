"""Replicas from a config: which model, with which first weights."""
