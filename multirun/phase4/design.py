"""How Phase 4 is designed: which points are run on which seeds, what is asked of them, and when."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import DictConfig

from mdaf.errors import UserError
from mdaf.multirun.analysis.looks.decision import LookPlan
from mdaf.multirun.analysis.verdict_rule import MIN_SEEDS

WINNER, BALANCED = "winner", "balanced"
KNOWN = (BALANCED, "weak", "strong")  # of conf/regularization
RUNNER_UP = "runner-up"  # stands in the place of the winner where that is the balanced point itself
SEQUENTIAL, RESEARCH = "sequential", "research"

OF_THE_RESEARCH = (42, 123, 456, 789, 2024)
SEEDS = {SEQUENTIAL: (*OF_THE_RESEARCH, 3001, 3002, 3003, 3004, 3005), RESEARCH: OF_THE_RESEARCH}
POINTS = {SEQUENTIAL: (WINNER, BALANCED), RESEARCH: (WINNER, BALANCED, "weak", "strong")}


@dataclass(frozen=True)
class Design:
    """What is planned before anything is run.

    ``points``  names; ``seeds`` all that may be run on, in their order.
    ``plan``    of the looks; None where every pair of points is compared once, on all seeds.
    ``rows``    the split on which differences are decided.
    """

    name: str
    points: tuple[str, ...]
    seeds: tuple[int, ...]
    plan: LookPlan | None
    rows: str

    @property
    def secondary(self) -> tuple[str, ...]:
        """The points that are compared with the winner after the question."""
        return tuple(name for name in self.points if name not in (WINNER, BALANCED)) if self.plan else ()


def design_of(cfg: DictConfig) -> Design:
    """The design that a config asks for. UserError says which key does not fit."""
    name = str(cfg.design)
    if name not in SEEDS:
        raise UserError(f"design: found {name!r}, expected {SEQUENTIAL} or {RESEARCH}")
    seeds = tuple(SEEDS[name] if cfg.seeds is None else cfg.seeds)
    points = tuple(POINTS[name] if cfg.points is None else cfg.points)
    if unknown := [point for point in points if point not in (WINNER, *KNOWN)]:
        raise UserError(f"points: found {unknown[0]!r}, expected {WINNER}, {', '.join(KNOWN)}")
    for key, values in (("seeds", seeds), ("points", points)):
        if not values or len(set(values)) != len(values):
            raise UserError(f"{key}: found {list(values)}, expected one or more, each once")
    rows = "test" if cfg.test else "validation"
    if name == RESEARCH:
        return Design(name, points, seeds, None, rows)
    if not {WINNER, BALANCED} <= set(points):
        raise UserError(
            f"points: found {list(points)}, expected {WINNER} and {BALANCED}, which design={SEQUENTIAL} compares; "
            f"design={RESEARCH} takes any points"
        )
    looks = tuple(cfg.looks)
    check_looks(looks, seeds)
    return Design(name, points, seeds, LookPlan(looks, cfg.alpha, cfg.margin, cfg.futility), rows)


def check_looks(looks: Sequence[int], seeds: Sequence[int]) -> None:
    """UserError unless the looks are rising numbers of pairs for which there are seeds."""
    if not looks or looks[0] < MIN_SEEDS or any(a >= b for a, b in itertools.pairwise(looks)):
        raise UserError(
            f"looks: found {list(looks)}, expected rising numbers of pairs, {MIN_SEEDS} or more; type "
            f"looks=[{MIN_SEEDS}], or design={RESEARCH} with two seeds"
        )
    if looks[-1] > len(seeds):
        raise UserError(
            f"looks: found {list(looks)}, but there are {len(seeds)} seeds; expected a seed for each pair of the last "
            f"look. Name more with seeds=[...], or look earlier, say looks=[{len(seeds)}], or compare all points "
            f"once: design={RESEARCH}"
        )
