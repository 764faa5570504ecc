"""A program of somebody else that is swept: its job sleeps, reports, and fails where it is told to."""

from __future__ import annotations

import math
import time
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

import mdaf


@hydra.main(config_path=".", config_name="config", execution_whitelist=("sweeper.*", "optuna.*", "tests.*"))
def job(cfg: DictConfig) -> float | tuple[float, float]:
    trial = mdaf.attach()
    folder = Path(HydraConfig.get().runtime.output_dir)
    with (folder / "begun").open("x"):  # fails where another job was in this folder before
        pass
    fail_if_told(cfg)
    value = 1 - (cfg.x - 0.3) ** 2 - (cfg.y - 0.6) ** 2
    for epoch in range(1, cfg.epochs + 1):
        sleep(cfg.seconds / cfg.epochs, deaf=cfg.broken == "deaf")
        trial.report(epoch, value * epoch / cfg.epochs, last=epoch == cfg.epochs)
    both = len(HydraConfig.get().sweeper.get("direction", "one")) == 2
    return (value, cfg.x) if both else value


def sleep(seconds: float, *, deaf: bool) -> None:
    """Sleeps; a deaf one swallows Ctrl-C, as what Python calls on its own, a finalizer say, does unasked."""
    try:
        time.sleep(seconds)
    except KeyboardInterrupt:
        if not deaf:
            raise


def fail_if_told(cfg: DictConfig) -> None:
    if cfg.broken == "always" or (cfg.broken == "above" and cfg.x > 0.5):
        raise RuntimeError("the disk is gone: postgresql://me:hunter2@host/db")
    if cfg.broken == "memory" and cfg.device.micro_batch > 32:
        raise MemoryError("out of memory")
    if cfg.broken == "nan":
        raise ValueError(f"the loss is {math.nan}")


if __name__ == "__main__":
    job()
