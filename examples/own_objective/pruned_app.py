"""The same program, whose jobs report each epoch to their trial, so that a pruner can stop hopeless ones."""

from __future__ import annotations

import math
from contextlib import nullcontext

import hydra
import optuna
from app import losses
from omegaconf import DictConfig

from mdaf.sweeper.trials.link import attach


@hydra.main(config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float:
    """``attach`` finds the job's trial by the node ``sweep`` of its config; outside a sweep it returns None."""
    loss = math.nan
    with attach(cfg) or nullcontext() as trial:
        for epoch, loss in enumerate(losses(cfg), start=1):
            if trial is not None and trial.report(epoch, loss, last=epoch == cfg.epochs):
                raise optuna.TrialPruned
    print(f"degree {cfg.degree}: validation loss {loss:.4f}")
    return loss


if __name__ == "__main__":
    main()
