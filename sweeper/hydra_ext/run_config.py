"""Checks a composed config before any work starts, and computes its hash, which identifies what a run computes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Container, Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from mdaf.errors import UserError, did_you_mean
from mdaf.hardware import gpus
from mdaf.messages.alerts import EVENTS
from mdaf.naming.allowed import permitted
from mdaf.naming.former_names import lasting
from mdaf.sweeper.hydra_ext.overrides import key_of
from mdaf.sweeper.hydra_ext.training_keys import check_training_keys

ARTIFACTS = ("summary", "metrics", "checkpoint")  # what a tracker may get
OUR_SCHEMA = "mdaf.conf.schema"

# Keys and groups of keys that are not hashed, each with the reason why it does not change the result of a run. All
# other keys are hashed. A test checks that every key of the schema is one or the other.
NOT_HASHED = {
    "sweep": "the study and the trial of a job, and when the sweep ends",
    "tracker": "where runs are shown besides their folders",
    "alert": "whom the command tells of its end",
    "experiment": "the name of an overlay; the values that it sets are hashed themselves",
    "resume": "a resumed run has the same result",
    "device.name": "another kind of device only rounds differently; the result records the device",
    "device.threads": "only the rounding depends on it",
    "device.micro_batch": "only the rounding depends on it: the gradient is that of the whole batch",
    "device.gpus": "which GPUs jobs are shared out to",
    "device.gpus_per_trial": "what a cluster is asked for",
    "device.graphs": "the same kernels are launched in another way",
    "device.memory_fraction": "where the store is kept during training",
    "device.guard": "the reaction to a slow device; if it changes the device, the result's parts say so",
    "data.root": "the folder of stores",
    "data.path": "the path of a log; its content is hashed with the data",
    "data.samples_path": "the path of a file; its content is hashed with the data",
    "data.item_table": "where a table of items lies; its settings and content are hashed with the data",
    "data.user_table": "where a table of users lies; its settings and content are hashed with the data",
    "data.memory_gb": "the memory for preparing the data",
    "data.decided_labels": "whether a log is refused; what is prepared from it is the same",
    "training.checkpoint_seconds": "how often a checkpoint is saved",
    "training.ranking_at": "which further figures of the same scores are recorded; training.monitor is hashed",
}
TELLING = ("tracker", "alert")  # groups that say who hears of a run: typed each time, and taken from no study
GROUPS = {key.partition(".")[0] for key in NOT_HASHED if "." in key}
# Keys that were added after studies were written, with the value that gives what all runs had before. With this value
# they are no part of a study's or a run's identity, so that those of then stay valid.
ADDED_LATER: dict[str, Any] = {
    "training.monitor": "val_auc",
    "training.loss": "bce",
    "training.focal_gamma": 2.0,
    "training.positive_weight": None,
    "training.plateau_epochs": 1,
    "training.plateau_factor": 0.5,
    "training.plateau_lowest_rate": 0.0,
    "data.numeric_fields": [],
    "data.numeric": "buckets",
    "data.buckets": 32,
    "data.list_fields": {},
    "data.pooling": "mean",
    "data.event_fields": [],
    "data.context_fields": [],
    "data.header": None,
    "data.quotes": True,
    "data.genres": "one",
    "data.age": "decades",
    "data.price": "doublings",
    "data.splits": None,
    "data.negatives_from": "day",
    "data.validation_share": None,
    "data.test_share": None,
}
# Keys that were once not hashed, with the value that all runs had then. With this value they are still not hashed, so
# that the hashes of those runs stay valid.
HASHED_UNLESS: dict[str, Any] = {
    "training.steps_per_epoch": None,
    "device.precision": "fp32",
    "data.held_out_users": 0.0,
    **ADDED_LATER,
}


def is_hashed(key: str) -> bool:
    """Whether a dotted key is hashed: neither the key nor a group that contains it is in ``NOT_HASHED``."""
    parts = key.split(".")
    return not any(".".join(parts[:count]) in NOT_HASHED for count in range(1, len(parts) + 1))


def tells_only(override: str) -> bool:
    """Whether an override says who hears of a run, and nothing of the run itself."""
    return key_of(override).partition(".")[0] in TELLING


def is_our_schema(config: DictConfig | None) -> bool:
    """Whether a config has the schema of this program's own jobs. The configs of other programs have another one."""
    return config is not None and getattr(OmegaConf.get_type(config), "__module__", None) == OUR_SCHEMA


def validate(cfg: DictConfig) -> None:
    """Raises UserError for the first missing or out-of-bounds value, and for a model or data that is not allowed."""
    missing = OmegaConf.missing_keys(cfg)
    if missing:
        raise UserError(f"{sorted(missing)[0]}: no value; set it on the command line with {sorted(missing)[0]}=...")
    for group in ("model", "data"):
        try:
            permitted(str(cfg[group].get("_target_")), f"mdaf.{group}")
        except UserError as error:
            raise UserError(f"{group}._target_: {error}") from None
    check_bounds(cfg)
    _check_device(str(cfg.device.name))
    gpus.numbers_in(OmegaConf.select(cfg, gpus.KEY))
    check_training_keys(cfg.training)
    check_tracker(cfg)
    check_alert(cfg)


def _check_device(name: str) -> None:
    """UserError for what is the name of no device. Whether this machine has it is known once a job is set up."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise UserError(f"device.name: found {name}, expected auto, cpu, mps, cuda, or one GPU of several as cuda:1")


def check_tracker(cfg: DictConfig) -> None:
    """Raises UserError for a file that no tracker gets."""
    _check_words(cfg, "tracker.artifacts", ARTIFACTS)


def check_alert(cfg: DictConfig) -> None:
    """Raises UserError for an event that does not exist, a program that is no word, and a webhook that is no URL."""
    _check_words(cfg, "alert.on", EVENTS)
    if (program := "".join((OmegaConf.select(cfg, "alert.command") or [""])[:1])) in ("True", "False"):
        raise UserError(
            f"alert.command: found the value {program.lower()}, expected a program; if it is called so, write "
            f'"{program.lower()}" with quotes'
        )
    webhook = OmegaConf.select(cfg, "alert.webhook")
    if webhook is not None and not str(webhook).startswith(("https://", "http://")):
        raise UserError("alert.webhook: found no URL, expected one that begins with https:// or http://")


def _check_words(cfg: DictConfig, key: str, known: Sequence[str]) -> None:
    for found in OmegaConf.select(cfg, key) or ():
        if found not in known:
            meant = did_you_mean(str(found), known)
            raise UserError(f"{key}: found {found}, expected one or more of {', '.join(known)}{meant}")


def check_bounds(cfg: DictConfig) -> None:
    """Raises UserError for the first number that is out of the bounds in the config's schema."""
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
    """The numbers of a value: the value itself, or the elements of a list or a mapping; none for null."""
    if isinstance(value, DictConfig):
        return list(value.values())
    if isinstance(value, ListConfig):
        return list(value)
    return [] if value is None else [value]


def config_hash(cfg: DictConfig) -> str:
    """12 hex digits that identify what a run computes: a hash of the resolved config without ``NOT_HASHED``."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return hash_of(plain)


def is_hash_of(cfg: DictConfig, found: str) -> bool:
    """Whether a hash is this config's. The hash of a time when no key of the device was hashed counts too."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return found in (hash_of(plain), hash_of({name: value for name, value in plain.items() if name != "device"}))


def hash_of(plain: dict[Any, Any]) -> str:
    """The hash of a resolved config in plain types."""
    kept = _hashed(lasting(plain))
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def _hashed(node: dict[Any, Any], prefix: str = "") -> dict[Any, Any]:
    """The hashed part of a config, or of the group whose keys begin with ``prefix``."""
    kept = {}
    for name, value in node.items():
        key = f"{prefix}{name}"
        if not is_hashed(key) or (key in HASHED_UNLESS and value == HASHED_UNLESS[key]):
            continue
        if isinstance(value, dict) and key in GROUPS:
            value = _hashed(value, f"{key}.")
            if key == "device" and not value:  # so the hash equals that of a time when no key of the device was hashed
                continue
        kept[name] = value
    return kept
