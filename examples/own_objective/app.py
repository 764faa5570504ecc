"""A Hydra program that knows nothing of this project: it fits a curve through noisy points."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import hydra
from omegaconf import DictConfig


def points(seed: int, count: int) -> list[tuple[float, float]]:
    """Noisy points of a sine wave between 0 and 1."""
    draw = random.Random(seed)
    xs = [draw.random() for _ in range(count)]
    return [(x, math.sin(6 * x) + draw.gauss(0, 0.2)) for x in xs]


def predict(weights: list[float], x: float) -> float:
    """The value of the polynomial at x."""
    return sum(weight * x**power for power, weight in enumerate(weights))


def losses(cfg: DictConfig) -> Iterator[float]:
    """Trains by stochastic gradient descent; after each epoch, the loss on points that training has not seen."""
    training, validation = points(cfg.seed, 60), points(cfg.seed + 1, 60)
    weights = [0.0] * (cfg.degree + 1)
    for _ in range(cfg.epochs):
        for x, y in training:
            error = predict(weights, x) - y
            for power, weight in enumerate(weights):
                weights[power] = weight - cfg.learning_rate * (error * x**power + cfg.l2 * weight)
        yield sum((predict(weights, x) - y) ** 2 for x, y in validation) / len(validation)


@hydra.main(config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float:
    """Returns the loss after the last epoch. This value is all that the sweeper needs."""
    *_, loss = losses(cfg)
    print(f"degree {cfg.degree}: validation loss {loss:.4f}")
    return loss


if __name__ == "__main__":
    main()
