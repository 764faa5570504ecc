"""The configurations that are compared: how each is composed, what tells two apart, and which runs there are."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mdaf.data.preparing.prepare import prepare_config
from mdaf.data.store.event_store import EventStore
from mdaf.errors import UserError
from mdaf.hardware import cores
from mdaf.messages.logs import warn_once
from mdaf.sweeper.hydra_ext.configs.sources import Configs
from mdaf.sweeper.hydra_ext.overrides import key_of
from mdaf.sweeper.hydra_ext.run_config import config_hash, validate
from mdaf.sweeper.runs.reader import BEST, IDENTITY, RESULT, checkpoint_digest, own_checkpoint, read_run
from mdaf.sweeper.training.building.model_factory import decide_fields
from mdaf.sweeper.trials.admitted import came_from_elsewhere

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Point:
    """A configuration: its overrides without the seed, and the trial of the study that it comes from, if any.

    ``folder``  its runs lie in ``folder/seed-S`` unless they are found elsewhere.
    """

    name: str
    overrides: tuple[str, ...]
    folder: Path
    trial: int | None = None


def with_epochs(overrides: Sequence[str], epochs: int | None) -> tuple[str, ...]:
    """The overrides with so many epochs instead of their own, and all of them: no early stopping."""
    kept = [o for o in overrides if key_of(o) not in ("training.patience", *(["training.epochs"] if epochs else []))]
    return (*kept, *([f"training.epochs={epochs}"] if epochs else []), "training.patience=null")


_configs = Configs()


def use(configs: Configs) -> None:
    """Composes the runs' configs from now on with what was typed after the command."""
    global _configs
    _configs = configs


def configs() -> Configs:
    """What was typed after the command of where configs come from."""
    return _configs


def composed(overrides: Sequence[str]) -> DictConfig:
    """The config of a job with these overrides."""
    return _composed(_configs, tuple(overrides)).copy()


@functools.lru_cache(maxsize=64)
def _composed(configs: Configs, overrides: tuple[str, ...]) -> DictConfig:
    return configs.compose(overrides)


def differences(configs: Mapping[str, DictConfig]) -> list[dict[str, Any]]:
    """The keys in which configurations differ, with each one's value. UserError if it is not regularization alone."""
    flat = {name: _flat(config) for name, config in configs.items()}
    keys = sorted({key for values in flat.values() for key in values})
    rows: list[dict[str, Any]] = []
    for key in keys:
        values = {name: found.get(key) for name, found in flat.items()}
        if len({repr(value) for value in values.values()}) > 1:
            rows.append({"key": key, "values": values})
    if others := [row["key"] for row in rows if not row["key"].startswith("regularization.")]:
        raise UserError(
            f"{others[0]}: differs between configurations that are to be compared, expected regularization alone"
        )
    return rows


def _flat(node: DictConfig, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in node.items():
        if isinstance(value, DictConfig):
            found |= _flat(value, f"{prefix}{name!s}.")
        else:
            found[f"{prefix}{name!s}"] = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return found


class Finished:
    """The finished runs below some folders, by what they computed on which data; the first folder comes first."""

    def __init__(self, *folders: Path) -> None:
        self._runs: dict[tuple[str, str], list[Path]] = {}
        for file in (file for folder in folders for file in sorted(folder.rglob(RESULT))):
            try:
                run = read_run(file.parent, IDENTITY)
            except UserError as error:
                warn_once(log, "%s; the run is not reused", error)
                continue
            if came_from_elsewhere(file.parent):
                continue  # what it says of itself is another's word
            if run.is_complete and (file.parent / BEST).is_file():
                key = (run.result["config_hash"], run.result["data_hash"])
                self._runs.setdefault(key, []).append(file.parent)

    def digest(self, wanted: Sequence[tuple[Point, int]]) -> None:
        """Computes the digests of the checkpoints of these runs, several at a time; ``find`` then knows them."""
        folders = [folder for point, seed in wanted for folder in self._runs.get(hashes(point, seed), [])]
        if not folders:
            return
        with ThreadPoolExecutor(min(len(folders), len(cores.usable())), thread_name_prefix="digests") as pool:
            for reading in [pool.submit(checkpoint_digest, folder) for folder in folders]:
                with suppress(UserError):  # ``find`` says what is wrong
                    reading.result()

    def find(self, point: Point, seed: int) -> Path | None:
        """The folder of a complete run of exactly this point with this seed on exactly its data."""
        for folder in self._runs.get(hashes(point, seed), []):
            result = read_run(folder).result
            precision = _config(point).device.precision
            # Precision was not a part of the hash once. A run that fell back to a CPU has two, and is not repeated so.
            if result.get("precision", precision) != precision:
                continue
            try:
                own_checkpoint(folder, result)
            except UserError as error:
                warn_once(log, "%s; the run is not reused", error)
                continue
            return folder
        return None


def hashes(point: Point, seed: int) -> tuple[str, str]:
    """The config hash and the data hash of a run of this point with this seed; prepares its data."""
    working_directory = os.getcwd()
    return (
        _seed_hash(_configs, point.overrides, working_directory, seed),
        _data_hash(_configs, point.overrides, working_directory),
    )


@functools.lru_cache(maxsize=1024)
def _seed_hash(configs: Configs, overrides: tuple[str, ...], working_directory: str, seed: int) -> str:
    config = _checked(configs, overrides, working_directory).copy()
    config.seed = seed
    return config_hash(config)


@functools.lru_cache(maxsize=64)
def _data_hash(configs: Configs, overrides: tuple[str, ...], working_directory: str) -> str:
    return _store(_checked(configs, overrides, working_directory)).data_hash


def _store(config: DictConfig) -> EventStore:
    return _prepared(OmegaConf.to_yaml(config.data), os.getcwd())


@functools.lru_cache(maxsize=8)
def _prepared(data: str, working_directory: str) -> EventStore:
    """The store of what a ``data`` node names, prepared once a command: paths in it may be relative."""
    config = OmegaConf.create(data)
    assert isinstance(config, DictConfig)
    return prepare_config(config)


def point_hash(point: Point) -> str:
    """The config hash of a point as it was composed, whatever seed it is run with: the same for the same point."""
    return _hash(_configs, point.overrides, os.getcwd())


@functools.lru_cache(maxsize=64)
def _hash(configs: Configs, overrides: tuple[str, ...], working_directory: str) -> str:
    return config_hash(_checked(configs, overrides, working_directory))


def checked(point: Point) -> DictConfig:
    """The composed config of a point, validated as a job would, with the fields that a job would decide on.

    The caller may change it.
    """
    return _config(point).copy()


def _config(point: Point) -> DictConfig:
    """The same, once a command; nobody changes it."""
    return _checked(_configs, point.overrides, os.getcwd())


@functools.lru_cache(maxsize=64)
def _checked(configs: Configs, overrides: tuple[str, ...], working_directory: str) -> DictConfig:
    config = _composed(configs, overrides).copy()
    validate(config)
    decide_fields(config, _store(config))
    return config
