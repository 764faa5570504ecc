"""A sphere over x and y, which fails if it is told to."""

import hydra
from omegaconf import DictConfig


@hydra.main(config_path="conf", config_name="sphere")
def sphere(cfg: DictConfig) -> float:
    if cfg.error:
        raise RuntimeError("cfg.error is True")
    return float(cfg.x) ** 2 + float(cfg.y) ** 2


if __name__ == "__main__":
    sphere()
