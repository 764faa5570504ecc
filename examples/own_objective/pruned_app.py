"""The same program, whose jobs report each epoch to their trial, so that a pruner can stop hopeless ones."""

from __future__ import annotations

import math

import hydra
from app import losses
from omegaconf import DictConfig

import mdaf


@hydra.main(config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float:
    """``report`` ends the job where the pruner stops its trial. Outside a sweep it does nothing."""
    trial, loss = mdaf.attach(), math.nan
    for epoch, loss in enumerate(losses(cfg), start=1):
        trial.report(epoch, loss, last=epoch == cfg.epochs)
    print(f"degree {cfg.degree}: validation loss {loss:.4f}")
    return loss


if __name__ == "__main__":
    main()
