"""The protocol that every data source follows, the source of a config, and checks of settings that sources share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, Protocol

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from mdaf.data.reading.defects import Defects
from mdaf.data.reading.file_hashes import FileHashes
from mdaf.data.reading.local_time import unix_seconds
from mdaf.data.schema import Schema
from mdaf.data.store.cell_rows import CellRows
from mdaf.data.store.writer import StoreWriter
from mdaf.errors import DataError, UserError
from mdaf.messages.reporting import one_line
from mdaf.naming.allowed import class_named
from mdaf.terminal.progress import Progress

# Settings that older stores do not have, with the value that gives the same store.
ADDED_LATER: dict[str, Any] = {
    "held_out_users": 0.0,
    "negatives_from": "day",
    "validation_share": None,
    "test_share": None,
    "numeric_fields": [],
    "numeric": "buckets",
    "buckets": 32,
    "list_fields": {},
    "pooling": "mean",
    "event_fields": [],
    "context_fields": [],
    "header": None,
    "quotes": True,
    "genres": "one",
    "age": "decades",
    "price": "doublings",
}
DEFAULT_SPLITS = (None, "time", "given")  # given: exactly if there is a file of samples
NOT_OF_THE_SOURCE = (
    "root",
    "bucketing",
    "history_order",
    "decided_labels",
)  # keys that do not affect the content of the store


@dataclass(frozen=True)
class Contents:
    """The description of the store that a source has written.

    ``validation``, ``test``  unix seconds at which these splits begin.
    ``promise``               which of ``mdaf.data.store.promises`` the splits keep.
    ``grouped``               whether samples are positives, each followed by the negatives that were drawn for it.
    ``cells``                 table -> how its cells become rows, for numeric and multi-valued fields.
    """

    schema: Schema
    validation: int
    test: int
    defects: Defects
    promise: str
    grouped: bool = False
    cells: Mapping[str, CellRows] = field(default_factory=dict)


class Source(Protocol):
    """A log from which a store can be built. Its constructor raises DataError for settings that are wrong."""

    @property
    def name(self) -> str:
        """The first part of the name of the store's folder."""

    def fingerprint(self, hashes: FileHashes) -> dict[str, Any]:
        """The settings that affect the store, and the hashes of the input files, in types that JSON has.

        Raises DataError if an input file is missing or cannot be read.
        """

    def build(self, writer: StoreWriter, progress: Progress) -> Contents:
        """Writes events, samples and vocabularies. Raises DataError if the log cannot be used."""


def source_from(node: DictConfig | Mapping[str, Any]) -> Source:
    """The source that ``_target_`` of a config's ``data`` node names.

    Raises DataError if it is neither in ``mdaf.data`` nor allowed by the user (``mdaf.naming.allowed``).
    """
    plain = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else dict(node)
    assert isinstance(plain, dict)
    settings = {key: value for key, value in plain.items() if key not in NOT_OF_THE_SOURCE}
    named = _class_of(str(settings.get("_target_")))
    settings["_target_"] = target = f"{named.__module__}.{named.__qualname__}"
    try:
        source = hydra.utils.instantiate(settings, _convert_="all", _recursive_=False, _execution_whitelist_=[target])
    except (InstantiationException, TypeError) as error:
        if isinstance(error.__cause__, DataError):
            raise error.__cause__ from None
        raise DataError(f"data._target_={target}: {one_line(error)}") from None
    return source


def _class_of(target: str) -> type[Any]:
    """The source of this package, or of the user's own, that ``target`` names. Raises DataError for any other class."""
    try:
        named = class_named(target, "mdaf.data")
    except UserError as error:
        raise DataError(f"data._target_: {error}") from None
    if not (hasattr(named, "build") and hasattr(named, "fingerprint")):
        raise DataError(f"data._target_={target} is not a source of logs: expected a class with build and fingerprint")
    return named


def refuse_below(settings: object, **lowest: float) -> None:
    """Raises DataError if a setting, an attribute of ``settings``, is below its lowest allowed value."""
    for key, low in lowest.items():
        if getattr(settings, key) < low:
            raise DataError(f"data.{key} is {getattr(settings, key)}; expected at least {low}")


def check_shares(validation: float, test: float) -> None:
    """DataError unless both splits get something, and training too."""
    if not (min(validation, test) > 0 and validation + test < 1):
        raise DataError(
            f"data.validation_share={validation} and data.test_share={test}: expected more than 0 each, and less than "
            "1 together"
        )


def refuse_others(key: str, value: str, known: Sequence[str]) -> None:
    """Raises DataError if the setting ``key`` has another value than the ``known`` ones."""
    if value not in known:
        raise DataError(f"data.{key}={value}: expected one of {', '.join(known)}")


def check_held_out(share: float) -> None:
    """Raises DataError if ``held_out_users`` is not a share that leaves users for training."""
    if not 0 <= share < 1:
        raise DataError(f"data.held_out_users={share}: expected a share from 0 to below 1")


def split_times(settings: Any, *names: str) -> list[int]:
    """The unix seconds of a source's dates. Raises DataError for the first date that is not after the one before."""
    times = [unix_seconds(getattr(settings, name), name, settings.utc_offset_hours) for name in names]
    for (earlier, before), (later, after) in pairwise(zip(names, times, strict=True)):
        if before >= after:
            raise DataError(
                f"data.{later}={getattr(settings, later)} must lie after data.{earlier}={getattr(settings, earlier)}"
            )
    return times


def settings_of(source: Any, *without: str) -> dict[str, Any]:
    """The settings of a source that change its store. Paths, limits for bad rows and memory do not."""
    irrelevant = ("path", "samples_path", "max_bad_fraction", "memory_gb", *without)
    kept = {key: value for key, value in asdict(source).items() if key not in irrelevant}
    if kept.get("splits") in DEFAULT_SPLITS:
        kept.pop("splits", None)
    return {key: value for key, value in kept.items() if key not in ADDED_LATER or value != ADDED_LATER[key]}
