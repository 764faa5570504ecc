"""What ``benchmarks.results`` compares, and the points at which each of it is tuned: the same budget for all.

The twelve points are fixed, so that those of one batch size train in lock-step and no contender is luckier than another
with its sampler. The first three are the research's weak, balanced and strong regularization. The other nine are a
Latin hypercube over the ranges of ``hydra/sweeper=regularization_wide``: each range is cut into nine parts, by its
logarithm where it spans powers of ten, and every part is tried once (of 150,000 such designs the one whose nearest two
points lie furthest apart). The trees have twelve points of their own keys, made in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

SPACE = {
    "training.learning_rate": "tag(log,interval(3e-4,5e-3))",
    "training.batch_size": "choice(512,2048)",
    "regularization.dropout": "interval(0.0,0.6)",
    "regularization.weight_decay": "tag(log,interval(1e-6,1e-3))",
    "regularization.label_smoothing": "interval(0.0,0.1)",
    "regularization.embedding_l2": "tag(log,interval(1e-7,1e-2))",
}
POINTS = (
    (1e-3, 512, 0.20, 1e-5, 0.0, 1e-7),
    (1e-3, 2048, 0.25, 3e-5, 0.05, 1e-7),
    (1e-3, 512, 0.30, 5e-5, 0.10, 1e-7),
    (3.5e-4, 512, 0.37, 6.8e-5, 0.028, 1.1e-4),
    (4.8e-4, 512, 0.30, 3.2e-6, 0.094, 4.1e-4),
    (6.6e-4, 2048, 0.50, 3.2e-5, 0.050, 6.8e-7),
    (9e-4, 2048, 0.57, 1.5e-5, 0.006, 1.5e-3),
    (1.2e-3, 512, 0.17, 1.5e-6, 0.039, 1.9e-7),
    (1.7e-3, 2048, 0.10, 1.5e-4, 0.017, 2.4e-6),
    (2.3e-3, 2048, 0.03, 3.2e-4, 0.072, 5.3e-3),
    (3.1e-3, 512, 0.43, 6.8e-4, 0.061, 3.2e-5),
    (4.3e-3, 2048, 0.23, 6.8e-6, 0.083, 8.8e-6),
)
OF_TREES = {
    "model.learning_rate": "tag(log,interval(0.02,0.3))",
    "model.leaves": "range(7,64)",
    "model.samples_per_leaf": "range(20,501)",
    "model.l2": "tag(log,interval(0.01,100))",
}
POINTS_OF_TREES = (
    (0.1, 31, 100, 1.0),
    (0.023, 38, 75, 0.19),
    (0.029, 8, 180, 1.0),
    (0.037, 17, 100, 66.0),
    (0.047, 14, 241, 0.015),
    (0.061, 57, 42, 5.3),
    (0.077, 9, 23, 12.0),
    (0.099, 21, 31, 0.43),
    (0.13, 12, 432, 2.3),
    (0.16, 26, 134, 28.0),
    (0.21, 31, 322, 0.081),
    (0.27, 47, 56, 0.035),
)


@dataclass(frozen=True)
class Contender:
    """A configuration of the table.

    ``overrides``    what it is, without the point at which it is trained.
    ``space``        key -> its range, as typed; ``points`` have a value for each key, in that order.
    ``at_point_of``  the contender whose tuned point it takes; None: it is tuned itself.
    """

    name: str
    overrides: tuple[str, ...]
    space: dict[str, str]
    points: tuple[tuple[float, ...], ...]
    at_point_of: str | None = None


def _neural(model: str, key: str) -> list[Contender]:
    """A model with match features and without."""
    return [
        Contender(f"{model}{ending}", (f"model={model}", f"{key}={on}"), SPACE, POINTS)
        for ending, on in (("+match", "true"), ("", "false"))
    ]


def _ablation(name: str, *overrides: str) -> Contender:
    whole = ("model=mdaf_mamba", "model.sequence.match_features=true")
    return Contender(name, (*whole, *overrides), SPACE, POINTS, REFERENCE)


REFERENCE = "mdaf_mamba+match"  # what the others are compared with
CONTENDERS = {
    contender.name: contender
    for contender in (  # those that take longest come first
        Contender("boosted", ("model=boosted", "device=cpu", "device.precision=fp32"), OF_TREES, POINTS_OF_TREES),
        *_neural("mdaf_mamba2", "model.sequence.match_features"),
        *_neural("mdaf_mamba", "model.sequence.match_features"),
        *_neural("mdaf_bst", "model.sequence.match_features"),
        *_neural("bst", "model.sequence.match_features"),
        *_neural("din", "model.match_features"),
        *_neural("dcnv2", "model.match_features"),
        _ablation(f"{REFERENCE}, candidate not in the sequence", "model.sequence.target_aware=false"),
        _ablation(f"{REFERENCE}, without the user's id", "model.without=[user]"),
    )
}
