"""What a race proposes: the run of a point on a seed, as the trials of a study take it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from optuna.trial import FrozenTrial

from mdaf.sweeper.trials.user_attrs import OVERRIDES, POINT, POINT_ID, SEED


@dataclass(frozen=True)
class Proposal:
    """A run that is to be begun: a point on a seed.

    ``point``  its parameters; {} leaves them to the sampler.
    ``name``   of the known point, if it is one.
    ``id``     of the point; None while a custom search space has not suggested the rest of it.
    ``again``  whether it is a further run of a point that was tried.
    """

    point: dict[str, Any]
    seed: int
    name: str | None
    id: str | None
    again: bool = False


class Proposer(Protocol):
    """What proposes runs, a race. See ``mdaf.sweeper.racing.race.Race``."""

    def propose(self, draw: int, trials: Sequence[FrozenTrial], rivals: int = 0) -> Proposal: ...

    def is_free(self, proposal: Proposal, trials: Sequence[FrozenTrial]) -> bool: ...

    def next_seed(self, point: Mapping[str, Any], trials: Sequence[FrozenTrial]) -> int: ...

    def with_seed(self, overrides: Sequence[str], seed: int) -> list[str]: ...


def attributes_of(found: Proposal, race: Proposer, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The user attributes of a trial that is a run of a race."""
    known = {name: value for name, value in ((POINT, found.name), (POINT_ID, found.id)) if value is not None}
    return {**known, SEED: found.seed, OVERRIDES: race.with_seed(attributes.get(OVERRIDES, ()), found.seed)}
