"""A sphere over x, y and z, where the range of z depends on x."""

import hydra
from omegaconf import DictConfig


@hydra.main(config_path="conf", config_name="dependent", execution_whitelist=("dependent_space.suggest",))
def sphere(cfg: DictConfig) -> float:
    return float(cfg.x) ** 2 + float(cfg.y) ** 2 + float(cfg.z) ** 2 + float(cfg.get("w", 0))


if __name__ == "__main__":
    sphere()
