"""Two objectives over x and y that contradict each other."""

import hydra
from omegaconf import DictConfig


@hydra.main(config_path="conf", config_name="two_objectives")
def two_objectives(cfg: DictConfig) -> tuple[float, float]:
    return cfg.x**2 + cfg.y**2, (cfg.x - 4) ** 2 + (cfg.y - 2) ** 2


if __name__ == "__main__":
    two_objectives()
