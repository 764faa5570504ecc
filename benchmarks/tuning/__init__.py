"""Whole sweeps beside those of Ray Tune and hydra-optuna-sweeper."""
