"""A scikit-learn program: a linear classifier of handwritten digits, which come with scikit-learn."""

from __future__ import annotations

import math

import hydra
import numpy as np
from omegaconf import DictConfig
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

import mdaf


@hydra.main(config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float:
    """Returns the loss on held-out digits after the last epoch. ``report`` ends the job where the pruner stops it."""
    images, digits = load_digits(return_X_y=True)
    split = train_test_split(images / 16, digits, test_size=0.3, random_state=cfg.seed, stratify=digits)
    images, held_out_images, digits, held_out_digits = split
    model = SGDClassifier(
        loss="log_loss",
        penalty=cfg.penalty,
        alpha=cfg.alpha,
        learning_rate="constant",
        eta0=cfg.learning_rate,
        random_state=cfg.seed,
    )
    trial, order, loss = mdaf.attach(), np.random.default_rng(cfg.seed), math.nan
    for epoch in range(1, cfg.epochs + 1):
        shuffled = order.permutation(len(digits))
        model.partial_fit(images[shuffled], digits[shuffled], classes=range(10))
        loss = float(log_loss(held_out_digits, model.predict_proba(held_out_images)))
        trial.report(epoch, loss, last=epoch == cfg.epochs)
    trial.record({"accuracy": float(model.score(held_out_images, held_out_digits))})
    print(f"held-out loss {loss:.4f}")
    return loss


if __name__ == "__main__":
    main()
