"""The known points weak, balanced and strong: a regularization each, everything else as in the winner."""

from __future__ import annotations

import math
from collections.abc import Mapping

from omegaconf import OmegaConf
from optuna.study import Study

from mdaf.errors import UserError
from mdaf.multirun.phase4.design import KNOWN
from mdaf.multirun.phase4.points import Point, composed
from mdaf.sweeper.hydra_ext.overrides import hydra_value, key_of
from mdaf.sweeper.study.queries import trials_of
from mdaf.sweeper.trials.user_attrs import POINT

GROUP = "regularization."
SEARCHED = ("regularization.dropout", "regularization.weight_decay", "regularization.label_smoothing")


def known_values(name: str, study: Study | None = None) -> dict[str, float]:
    """The regularization of a known point. UserError if there is no such option of the group.

    ``study``  where it searched more of the regularization, its own trial of this point says what that is there. A
               parameter that is searched by its logarithm cannot be 0, so a trial may be near the option only.
    """
    if name not in KNOWN:
        raise UserError(f"points: found {name!r}, expected winner, {', '.join(KNOWN)}")
    config = composed([f"regularization={name}"])
    values = {key: float(OmegaConf.select(config, key)) for key in SEARCHED}
    return values if study is None else {**_as_tried(name, values, study), **values}


def _as_tried(name: str, values: dict[str, float], study: Study) -> dict[str, float]:
    """What the first trial of a known point adds to ``values``, of trials that agree with these."""
    keys = {f"{GROUP}{key}" for key in composed([]).regularization}
    for trial in trials_of(study):
        if trial.user_attrs.get(POINT) == name and all(
            trial.params.get(key, one) == one for key, one in values.items()
        ):
            found = {key: value for key, value in trial.params.items() if key in keys}
            return {key: value for key, value in found.items() if isinstance(value, float) and math.isfinite(value)}
    return {}


def known_point(name: str, like: Point, values: Mapping[str, float]) -> Point:
    """A known point with its ``values``, which differs from ``like`` in its regularization only.

    Its runs lie beside those of ``like``.
    """
    kept = [override for override in like.overrides if not key_of(override).startswith(GROUP)]
    own = [f"{key}={hydra_value(value)}" for key, value in values.items()]
    return Point(name, (*kept, *own), like.folder.with_name(name))
