"""The Optuna sweeper: the Hydra plugin, its settings, the sweep and the processes that its jobs run in."""
