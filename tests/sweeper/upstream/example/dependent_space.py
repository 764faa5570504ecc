"""A custom search space: z within a distance of x, and a key that the config does not have."""

from omegaconf import DictConfig
from optuna.trial import Trial


def suggest(cfg: DictConfig, trial: Trial) -> None:
    x = trial.params["x"]
    trial.suggest_float("z", x - cfg.max_z_difference_from_x, x + cfg.max_z_difference_from_x)
    trial.suggest_float("+w", 0.0, 1.0)
