"""What all trials of a study have in common, and the refusal of a sweep that would mix in others.

The first sweep writes it as user attributes of the study; every later one is compared. Intervals may change, as people
zoom in; what a parameter *is*, what is maximized, the rest of the config and the data may not. The seed, the machine
and where files lie are no part of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import optuna
from omegaconf import DictConfig, OmegaConf

from sweeper.attributes import CONFIG, DATA_HASH, MEANINGS, OBJECTIVE
from sweeper.config import NOT_HASHED
from sweeper.errors import UserError
from sweeper.space import Space, key_of, meaning

WAY_OUT = "give it another name (hydra.sweeper.study_name=...), or mix the two with sweep.force=true"
NOT_COMPARED = ("hydra", "seed", "criteria", *NOT_HASHED)


def agree(
    study: optuna.Study,
    objectives: Sequence[str] | None,
    constraints: Mapping[str, float],
    space: Space,
    config: DictConfig,
    *,
    force: bool,
) -> None:
    """Compares a sweep with the study that it joins, and writes down what is new. UserError where they differ."""
    found = [direction.name.lower() for direction in study.directions]
    names = list(objectives) if objectives else None
    objective = {"names": names, "directions": found, "constraints": dict(constraints)}
    common = dict(_flat(OmegaConf.to_container(config, resolve=False)))
    _compare_mappings(study, OBJECTIVE, objective, "the objective's ", force)
    _compare_mappings(study, MEANINGS, {name: meaning(d) for name, d in space.items()}, "", force)
    outside = {key: value for key, value in common.items() if not _searched(key, space)}
    _compare_mappings(study, CONFIG, outside, "", force, searched=space)


def agree_on_directions(study: optuna.Study, wanted: Sequence[str]) -> None:
    """UserError if the study is there with other directions; these are fixed when it is created."""
    found = [direction.name.lower() for direction in study.directions]
    if found != list(wanted):
        raise UserError(
            f"hydra.sweeper.direction: found {', '.join(wanted)}, but study {study.study_name} has "
            f"{', '.join(found)}; give it another name (hydra.sweeper.study_name=...)"
        )


def agree_on_data(study: optuna.Study, data_hash: str, *, force: bool) -> None:
    """The same for the data that a job has prepared."""
    before = study.user_attrs.get(DATA_HASH)
    if before is not None and before != data_hash and not force:
        raise UserError(
            f"data: its hash is {data_hash}, but the trials of study {study.study_name} were trained on {before}; "
            f"{WAY_OUT}"
        )
    if before != data_hash:
        study.set_user_attr(DATA_HASH, data_hash)


def _compare_mappings(
    study: optuna.Study,
    attribute: str,
    ours: Mapping[str, Any],
    what: str,
    force: bool,
    searched: Space | None = None,
) -> None:
    stored = study.user_attrs.get(attribute)
    theirs = _mapping(study, attribute, stored)
    ours = json.loads(json.dumps(ours, default=str))
    for name in ours.keys() & theirs.keys():
        if ours[name] != theirs[name] and not force and not _searched(name, searched or {}):
            raise UserError(
                f"{what}{name}: this sweep has {_shown(ours[name])}, but the trials of study {study.study_name} have "
                f"{_shown(theirs[name])}; {WAY_OUT}"
            )
    joined = {**theirs, **ours}
    if joined != theirs:
        study.set_user_attr(attribute, json.dumps(joined, sort_keys=True))


def _mapping(study: optuna.Study, attribute: str, stored: Any) -> dict[str, Any]:
    """What a sweep wrote on the study. UserError for anything else."""
    if stored is None:
        return {}
    try:
        found = json.loads(stored)
    except (TypeError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise UserError(
            f"study {study.study_name}: its attribute {attribute} is {stored!r}, expected a mapping as JSON"
        )
    return found


def _searched(key: str, space: Space) -> bool:
    """Whether a key is searched, or lies in a group or a mapping that is."""
    return any(key == name or key.startswith(f"{name}.") for name in (key_of(name) for name in space))


def _flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a config that decide what is computed, by their dotted keys."""
    if isinstance(node, dict) and (node or not prefix):
        for name, value in node.items():
            key = f"{prefix}{name}"
            if key not in NOT_COMPARED:
                yield from _flat(value, f"{key}.")
    else:
        yield prefix.rstrip("."), node


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
