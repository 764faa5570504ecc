"""Checks a composed config as a whole, before any work starts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from conf.schema import Bounds
from sweeper.errors import UserError

# What a job is told about its place in a study, where it runs, and how it goes on; none changes what is computed.
NOT_HASHED = ("sweep", "device", "experiment", "resume")
# Where inputs and stores lie, and what preparing them may cost; their content is hashed with the data.
NOT_HASHED_OF_DATA = ("root", "path", "samples_path", "memory_gb")
NOT_HASHED_OF_TRAINING = ("checkpoint_seconds",)


def validate(cfg: DictConfig) -> None:
    """Raises UserError at the first missing, ill-typed or out-of-bounds value."""
    missing = OmegaConf.missing_keys(cfg)
    if missing:
        raise UserError(f"{sorted(missing)[0]}: no value; set it on the command line with {sorted(missing)[0]}=...")
    for group in ("model", "data"):
        target = cfg[group].get("_target_")
        if not str(target).startswith(f"{group}."):
            raise UserError(f"{group}._target_: found {target}, expected a class of the package {group}")
    check_bounds(cfg)


def check_bounds(cfg: DictConfig) -> None:
    """Raises UserError at the first number of a typed config that lies out of its bounds."""
    for key, value, bounds in _bounded_values(cfg, ""):
        if value not in bounds:
            raise UserError(f"{key}: found {value}, expected {bounds}; set it with {key}=...")


def _bounded_values(node: DictConfig, prefix: str) -> Iterator[tuple[str, float, Bounds]]:
    schema = OmegaConf.get_type(node)
    fields = {f.name: f for f in dataclasses.fields(schema)} if dataclasses.is_dataclass(schema) else {}
    for name in node:
        key = f"{prefix}{name!s}"
        value = node[name]
        if (field := fields.get(str(name))) is not None and "bounds" in field.metadata:
            yield from ((key, number, field.metadata["bounds"]) for number in _numbers(value))
        elif isinstance(value, DictConfig):
            yield from _bounded_values(value, f"{key}.")


def _numbers(value: Any) -> list[float]:
    """The numbers of a value: itself, those of a list or of a mapping, none of null."""
    if isinstance(value, DictConfig):
        return list(value.values())
    if isinstance(value, ListConfig):
        return list(value)
    return [] if value is None else [value]


def config_hash(cfg: DictConfig) -> str:
    """12 hex digits of what is computed: the resolved config without its place in a study or on a machine."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    kept = {key: value for key, value in plain.items() if key not in NOT_HASHED}
    for group, left_out in (("data", NOT_HASHED_OF_DATA), ("training", NOT_HASHED_OF_TRAINING)):
        kept[group] = {key: value for key, value in kept.get(group, {}).items() if key not in left_out}
    if kept["training"].get("steps_per_epoch") is None:  # a run that sees every row is what it was before the key
        kept["training"].pop("steps_per_epoch", None)
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]
