"""This program's additions to Hydra: override texts, config sources, run folders, callbacks, checks of a config."""
