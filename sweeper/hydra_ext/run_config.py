"""Checks a composed config as a whole, before any work starts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Container, Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from mdaf.errors import UserError
from mdaf.former_names import current, lasting

OUR_SCHEMA = "mdaf.conf.schema"

# Keys, and groups of keys, that are no part of what a run is, each with the reason why it changes no result. All other
# keys are hashed; a test holds every key of the schema to be one or the other.
NOT_HASHED = {
    "sweep": "the place of a job in its study, and when the sweep ends",
    "experiment": "the name of an overlay, whose values are hashed themselves",
    "resume": "how a run goes on: to the same result",
    "device.name": "the kind of device is recorded with the result: another one rounds otherwise",
    "device.threads": "who adds up what: rounding",
    "device.micro_batch": "a step's gradient is that of the whole batch, added up in parts: rounding",
    "device.gpus_per_trial": "what a cluster is asked for",
    "device.graphs": "the same kernels, begun otherwise",
    "device.memory_fraction": "where a store lies while batches are gathered from it",
    "device.guard": "what is done about a slow device; where that is another device, the result's parts name it",
    "data.root": "where stores lie",
    "data.path": "where a log lies; its content is hashed with the data",
    "data.samples_path": "the same",
    "data.memory_gb": "what preparing may cost",
    "training.checkpoint_seconds": "how often a state is saved",
}
GROUPS = {key.partition(".")[0] for key in NOT_HASHED if "." in key}
# Keys that were not hashed once, with the value that every run had then: a run that has it keeps the hash that it had.
HASHED_UNLESS = {"training.steps_per_epoch": None, "device.precision": "fp32", "data.held_out_users": 0.0}


def is_hashed(key: str) -> bool:
    """Whether a dotted key, or one of a group that holds it, is a part of what a run is."""
    parts = key.split(".")
    return not any(".".join(parts[:count]) in NOT_HASHED for count in range(1, len(parts) + 1))


def is_our_schema(config: DictConfig | None) -> bool:
    """Whether a config has the schema of this program's own jobs. Another program's sweep imports no such schema."""
    return config is not None and getattr(OmegaConf.get_type(config), "__module__", None) == OUR_SCHEMA


def validate(cfg: DictConfig) -> None:
    """Raises UserError at the first missing, ill-typed or out-of-bounds value."""
    missing = OmegaConf.missing_keys(cfg)
    if missing:
        raise UserError(f"{sorted(missing)[0]}: no value; set it on the command line with {sorted(missing)[0]}=...")
    for group in ("model", "data"):
        target = str(cfg[group].get("_target_"))
        if not current(target).startswith(f"mdaf.{group}."):
            raise UserError(f"{group}._target_: found {target}, expected a class of the package mdaf.{group}")
    check_bounds(cfg)


def check_bounds(cfg: DictConfig) -> None:
    """Raises UserError at the first number of a typed config that lies out of its bounds."""
    for key, value, bounds in _bounded_values(cfg, ""):
        if value not in bounds:
            raise UserError(f"{key}: found {value}, expected {bounds}; set it with {key}=...")


def _bounded_values(node: DictConfig, prefix: str) -> Iterator[tuple[str, float, Container[float]]]:
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
    return hash_of(plain)


def is_hash_of(cfg: DictConfig, found: str) -> bool:
    """Whether a hash is this config's, also as it was before the device's keys were hashed."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return found in (hash_of(plain), hash_of({name: value for name, value in plain.items() if name != "device"}))


def hash_of(plain: dict[Any, Any]) -> str:
    """The hash of a resolved config in plain types."""
    kept = _hashed(lasting(plain))
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def _hashed(node: dict[Any, Any], prefix: str = "") -> dict[Any, Any]:
    """The part of a config, or of the group below ``prefix``, that is hashed."""
    kept = {}
    for name, value in node.items():
        key = f"{prefix}{name}"
        if not is_hashed(key) or (key in HASHED_UNLESS and value == HASHED_UNLESS[key]):
            continue
        if isinstance(value, dict) and key in GROUPS:
            value = _hashed(value, f"{key}.")
            if key == "device" and not value:  # it was not hashed at all once
                continue
        kept[name] = value
    return kept
