"""What all trials of a study have in common, and the refusal of a sweep that would mix in others.

The first sweep writes it as user attributes of the study, and every later sweep is compared with them. A later sweep
may change the interval of a parameter. It may not change the kind of a parameter, what is maximized, the rest of the
config or the data. The seed, the machine and the places of files are not compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

import optuna
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution

from mdaf.errors import UserError
from mdaf.naming.former_names import lasting
from mdaf.sweeper.hydra_ext.overrides import key_of, parsed
from mdaf.sweeper.hydra_ext.run_config import ADDED_LATER, NOT_HASHED, is_our_schema
from mdaf.sweeper.trials.points.space import Space, meaning
from mdaf.sweeper.trials.user_attrs import CONFIG, DATA_HASH, MEANINGS, OBJECTIVE, complaint

WAY_OUT = "give it another name (hydra.sweeper.study_name=...), or mix the two with "
FORCE, ANOTHERS_FORCE = "sweep.force=true", "hydra.sweeper.force=true"  # of this program, and of others
NOT_COMPARED = ("hydra", "seed", "criteria", *NOT_HASHED)
SEEDS = ("seed", "random_seed", "random_state")  # keys whose null means that each run draws a seed
WITHOUT = "model.without"  # null is what a job decides when it knows the data: see agree_on_fields


def agree(
    study: optuna.Study,
    objectives: Sequence[str] | None,
    constraints: Mapping[str, float],
    space: Space,
    config: DictConfig,
    *,
    force: bool,
) -> dict[str, str]:
    """Compares a sweep with the study that it joins; UserError where they differ.

    Returns what is new, as user attributes of the study: nothing is written before the whole sweep is accepted.
    """
    agree_on_parameters(study, space)
    found = [direction.name.lower() for direction in study.directions]
    names = list(objectives) if objectives else None
    objective = {"names": names, "directions": found, "constraints": dict(constraints)}
    common = dict(_flat(lasting(OmegaConf.to_container(config, resolve=False))))
    outside = {key: value for key, value in common.items() if not _searched(key, space)}
    if outside.get(WITHOUT, ...) is None:
        del outside[WITHOUT]
    way_out = WAY_OUT + (FORCE if is_our_schema(config) else ANOTHERS_FORCE)
    joined = {
        OBJECTIVE: _joined(study, OBJECTIVE, objective, "the objective's ", force, way_out=way_out),
        MEANINGS: {**_mapping(study, MEANINGS), **{name: meaning(d) for name, d in space.items()}},
        CONFIG: _joined(study, CONFIG, outside, "", force, searched=space, way_out=way_out),
    }
    return {
        attribute: json.dumps(ours, sort_keys=True)
        for attribute, ours in joined.items()
        if ours != _mapping(study, attribute)
    }


def run_config(config: DictConfig, space: Space, fixed: Sequence[str]) -> str | None:
    """A hash of what decides a run besides its parameters and its overrides; None if each run draws its own seed.

    Interpolations are resolved where they can be, since an environment variable may have another value now.
    """
    set_by = {key_of(text) for text in fixed}
    if any(_last(key_of(text)) in SEEDS and parsed(text).value() is None for text in fixed):
        return None
    leaves: dict[str, Any] = {}
    ignored = (*NOT_HASHED, "criteria") if is_our_schema(config) else ()
    for key, value in _flat(lasting(OmegaConf.to_container(config, resolve=False)), ignored=("hydra", *ignored)):
        if _searched(key, space) or key in set_by or (ignored and value == ADDED_LATER.get(key, ...)):
            continue
        if value is None and _last(key) in SEEDS:
            return None
        leaves[key] = _resolved(config, key, value)
    text = json.dumps(leaves, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _resolved(config: DictConfig, key: str, value: Any) -> Any:
    if not (isinstance(value, str) and "${" in value):
        return value
    try:
        return str(OmegaConf.select(config, key))
    except Exception:  # a resolver may raise anything, such as what only a job knows
        return value


def agree_on_parameters(study: optuna.Study, space: Space) -> None:
    """UserError where a parameter is another one than in the study's trials, which Optuna takes for no force.

    An interval may be another one; a kind of number, its logarithm and a list of choices may not.
    """
    theirs: dict[str, BaseDistribution] = {}
    for trial in study.get_trials(deepcopy=False):
        if wrong := complaint(trial.user_attrs):
            raise UserError(f"study {study.study_name}, trial {trial.number}: {wrong}; choose another study_name")
        for name in trial.distributions.keys() & space.keys() - theirs.keys():
            theirs[name] = trial.distributions[name]
    for name, distribution in theirs.items():
        if (before := meaning(distribution)) != (now := meaning(space[name])):
            raise UserError(
                f"{name}: this sweep has {now}, but the trials of study {study.study_name} have {before}, and one "
                "study cannot hold both; give it another name (hydra.sweeper.study_name=...)"
            )


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
            f"{WAY_OUT}{FORCE}"
        )
    if before != data_hash:
        study.set_user_attr(DATA_HASH, data_hash)


def agree_on_fields(study: optuna.Study, without: Sequence[str], *, force: bool) -> None:
    """The same for the fields that a job has decided to leave out of its model."""
    ours = {WITHOUT: list(without)}
    joined = _joined(study, CONFIG, ours, "", force)
    if joined != _mapping(study, CONFIG):
        study.set_user_attr(CONFIG, json.dumps(joined, sort_keys=True))


def differences_from(study: optuna.Study, config: DictConfig, besides: Sequence[str]) -> dict[str, tuple[Any, Any]]:
    """The keys in which a config is not the one that a study's trials had: key -> its value, and theirs.

    ``besides``  keys that may differ, such as those that are searched. Only keys that both have are compared.
    """
    theirs = _mapping(study, CONFIG)
    ours = dict(_flat(lasting(OmegaConf.to_container(config, resolve=False))))
    known = {key: json.loads(json.dumps(value, default=str)) for key, value in ours.items() if key in theirs}
    return {
        key: (value, theirs[key])
        for key, value in known.items()
        if value != theirs[key]
        and not any(key == name or key.startswith(f"{name}.") for name in besides)
        and not str(theirs[key]).endswith(f".{value}")  # a member of an enumeration, which YAML names alone
    }


def _joined(
    study: optuna.Study,
    attribute: str,
    ours: Mapping[str, Any],
    what: str,
    force: bool,
    searched: Space | None = None,
    way_out: str = WAY_OUT + FORCE,
) -> dict[str, Any]:
    """A mapping of the study's with ours over it. UserError where they differ, unless that is forced."""
    theirs = _mapping(study, attribute)
    ours = json.loads(json.dumps(ours, default=str))
    for name in ours.keys() & theirs.keys():
        if ours[name] != theirs[name] and not force and not _searched(name, searched or {}):
            raise UserError(
                f"{what}{name}: this sweep has {_shown(ours[name])}, but the trials of study {study.study_name} have "
                f"{_shown(theirs[name])}; {way_out}"
            )
    return {**theirs, **ours}


def _mapping(study: optuna.Study, attribute: str) -> dict[str, Any]:
    """What a sweep wrote on the study. UserError for anything else."""
    stored = study.user_attrs.get(attribute)
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


def _flat(node: Any, prefix: str = "", ignored: Container[str] = NOT_COMPARED) -> Iterator[tuple[str, Any]]:
    """The leaves of a config that decide what is computed, by their dotted keys."""
    if isinstance(node, dict) and (node or not prefix):
        for name, value in node.items():
            key = f"{prefix}{name}"
            if key not in ignored:
                yield from _flat(value, f"{key}.", ignored)
    else:
        yield prefix.rstrip("."), node


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
