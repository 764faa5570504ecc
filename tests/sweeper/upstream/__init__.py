"""Programs and configs that the test-suite of hydra-optuna-sweeper runs. Its source distribution does not hold them.

They are written from what that suite asks of them. ``GROUP`` in a config is the config group of the sweeper.
"""
