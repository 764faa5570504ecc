"""The Optuna sweeper: the Hydra plugin, the checks of its settings, the sweep itself, and the processes of its jobs."""
