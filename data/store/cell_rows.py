"""Numeric and multi-valued cells: which rows of an embedding table a cell reads, and with which weights.

A rule (``Numeric``, ``MultiValued``) is fitted to the cells of the training period. What results encodes any cell, also
one that training has not seen: ``encode`` needs neither a store nor a raw log. A new file is encoded by it, too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import polars as pl

from mdaf.data.reading.cells import members, short_decimals
from mdaf.data.schema import BUCKETS, FIRST_ID, LIST, UNKNOWN, VECTOR
from mdaf.data.store.vocabulary import Vocabulary
from mdaf.errors import DataError

log = logging.getLogger(__name__)

LONGEST = 32  # members of a list that training knows; of more, the most frequent ones are taken and nothing else
FARTHEST = 10.0  # standard deviations from the mean; a number farther away counts as this far
MEAN, SUM = "mean", "sum"
POOLINGS = (MEAN, SUM)
METHODS = (BUCKETS, VECTOR)


class Pairs(NamedTuple):
    """The rows of a table that cells read, and their weights, (cells, members) each: int32 and float32.

    Members that a cell lacks are ``PADDING`` with weight 0. A missing cell reads the row ``UNKNOWN`` with weight 1.
    """

    ids: np.ndarray
    weights: np.ndarray


class CellRows(Protocol):
    """Encodes the cells of one field.

    ``kind``  as in ``mdaf.data.schema.Cells``.
    ``rows``  the rows of the embedding table, the two reserved ones included.
    """

    @property
    def kind(self) -> str: ...

    @property
    def rows(self) -> int: ...

    def encode(self, cells: pl.Series) -> Pairs:
        """The rows of cells as they stand in a file, text or numbers; null and what cannot be read are missing."""

    def to_json(self) -> dict[str, Any]:
        """The settings in types that JSON has, without the values of a list."""


def numbers_of(cells: pl.Series) -> np.ndarray:
    """The numbers of cells, float64 of five significant digits; NaN if missing."""
    return short_decimals(cells.cast(pl.String)).cast(pl.Float64).to_numpy()


def _one(ids: np.ndarray, weights: np.ndarray) -> Pairs:
    return Pairs(ids.astype(np.int32)[:, None], weights.astype(np.float32)[:, None])


@dataclass(frozen=True)
class Buckets:
    """Numbers in buckets. ``edges``, ascending, are the largest numbers of all buckets but the last."""

    edges: tuple[float, ...]

    kind = BUCKETS

    def __post_init__(self) -> None:
        if not np.isfinite(self.edges).all() or (np.diff(self.edges) <= 0).any():
            raise ValueError("the edges of buckets do not ascend")

    @property
    def rows(self) -> int:
        """See ``CellRows``."""
        return FIRST_ID + len(self.edges) + 1

    def encode(self, cells: pl.Series) -> Pairs:
        """See ``CellRows``."""
        found = numbers_of(cells)
        ids = np.where(np.isnan(found), UNKNOWN, FIRST_ID + np.searchsorted(self.edges, found, side="left"))
        return _one(ids, np.ones(len(ids)))

    def to_json(self) -> dict[str, Any]:
        """See ``CellRows``."""
        return {"kind": self.kind, "edges": list(self.edges)}


@dataclass(frozen=True)
class Vector:
    """Numbers that multiply one row: (number - mean) / std, at most ``FARTHEST``."""

    mean: float
    std: float

    kind = VECTOR
    rows = FIRST_ID + 1

    def __post_init__(self) -> None:
        if not (np.isfinite(self.mean) and np.isfinite(self.std) and self.std > 0):
            raise ValueError(f"numbers have mean {self.mean} and standard deviation {self.std}")

    def encode(self, cells: pl.Series) -> Pairs:
        """See ``CellRows``."""
        found = numbers_of(cells)
        missing = np.isnan(found)
        with np.errstate(over="ignore"):
            value = np.clip((found - self.mean) / self.std, -FARTHEST, FARTHEST)
        return _one(np.where(missing, UNKNOWN, FIRST_ID), np.where(missing, 1.0, value))

    def to_json(self) -> dict[str, Any]:
        """See ``CellRows``."""
        return {"kind": self.kind, "mean": self.mean, "std": self.std}


@dataclass(frozen=True)
class Members:
    """Lists of values. ``values[i]`` has the row ``FIRST_ID + i``; all other values of a cell read ``UNKNOWN``."""

    separator: str
    pooling: str
    values: tuple[str, ...]

    kind = LIST

    def __post_init__(self) -> None:
        if not isinstance(self.separator, str) or not self.separator or self.pooling not in POOLINGS:
            raise ValueError(f"lists have the separator {self.separator!r} and the pooling {self.pooling!r}")

    @property
    def rows(self) -> int:
        """See ``CellRows``."""
        return FIRST_ID + len(self.values)

    def encode(self, cells: pl.Series) -> Pairs:
        """See ``CellRows``. There are as many members as the longest cell needs; known ones come first."""
        listed = self.listed(cells)
        cell, ids = listed["cell"].to_numpy(), listed["id"].to_numpy()
        known = ids != UNKNOWN
        order = np.lexsort((ids[known], cell[known]))
        cell_of, id_of = cell[known][order], ids[known][order]
        every = np.bincount(cell_of, minlength=len(cells))
        place = np.arange(len(cell_of)) - (np.cumsum(every) - every)[cell_of]
        kept = place < LONGEST
        cell_of, id_of, place = cell_of[kept], id_of[kept], place[kept]
        own = np.minimum(every, LONGEST)
        others = np.bincount(cell[~known], minlength=len(cells))
        others[own == LONGEST] = 0
        others[(own == 0) & (others == 0)] = 1  # a missing cell
        weight = 1.0 / (own + others) if self.pooling == MEAN else np.ones(len(cells))
        width = int((own + (others > 0)).max(initial=1))
        ids_of, weights = np.zeros((len(cells), width), np.int32), np.zeros((len(cells), width), np.float32)
        ids_of[cell_of, place], weights[cell_of, place] = id_of, weight[cell_of]
        rest = np.flatnonzero(others)
        ids_of[rest, own[rest]], weights[rest, own[rest]] = UNKNOWN, (others * weight)[rest]
        return Pairs(ids_of, weights)

    def listed(self, cells: pl.Series) -> pl.DataFrame:
        """The members of all cells: the columns cell (its position) and id."""
        parts = pl.DataFrame({"member": members(cells.cast(pl.String), self.separator)}).with_row_index("cell")
        parts = parts.filter(pl.col("member").list.len() > 0).explode("member")
        codes = pl.Series(np.arange(FIRST_ID, self.rows, dtype=np.int32))
        known = pl.Series(self.values, dtype=pl.String)
        found = parts["member"].replace_strict(known, codes, default=UNKNOWN, return_dtype=pl.Int32)
        return parts.select(pl.col("cell").cast(pl.Int64), found.alias("id"))

    def to_json(self) -> dict[str, Any]:
        """See ``CellRows``."""
        return {"kind": self.kind, "separator": self.separator, "pooling": self.pooling}


def cell_rows(settings: Mapping[str, Any], values: tuple[str, ...] = ()) -> CellRows:
    """What ``to_json`` described; ``values`` are those of a list.

    Raises ValueError, KeyError or TypeError if that is damaged.
    """
    kind = settings["kind"]
    if kind == BUCKETS:
        return Buckets(tuple(float(edge) for edge in settings["edges"]))
    if kind == VECTOR:
        return Vector(float(settings["mean"]), float(settings["std"]))
    if kind == LIST:
        return Members(settings["separator"], settings["pooling"], values)
    raise ValueError(f"cells are of kind {kind!r}")


class Fitted(NamedTuple):
    """What was fitted to the cells of a table, and how many members its longest cell has."""

    rows: CellRows
    members: int


class Rule(Protocol):
    """How the cells of a field are to be encoded."""

    def fit(self, name: str, cells: Vocabulary, min_count: int) -> CellRows:
        """Takes from the cells of training what encoding needs. Raises DataError if training has nothing to take."""


@dataclass(frozen=True)
class Numeric:
    """Numbers, in at most ``buckets`` buckets of equal counts in training, or (``VECTOR``) as value times vector."""

    method: str
    buckets: int = 32

    def fit(self, name: str, cells: Vocabulary, min_count: int) -> CellRows:
        """See ``Rule``; ``min_count`` does not apply."""
        found, counts = numbers_of(cells.values), cells.trained
        known = ~np.isnan(found) & (counts > 0)
        if not known.any():
            raise DataError(f"field {name!r} has no number in training; leave it out of data.numeric_fields")
        order = np.argsort(found[known], kind="stable")
        values, counts = found[known][order], counts[known][order]
        if self.method == VECTOR:
            # A power of two is exact, and keeps the squares of the largest and the smallest numbers within range.
            power = int(np.frexp(np.abs(values).max())[1])
            short = np.ldexp(values, -power)
            mean = float(np.average(short, weights=counts))
            std = float(np.sqrt(np.average((short - mean) ** 2, weights=counts)))
            return Vector(float(np.ldexp(mean, power)), float(np.ldexp(std, power)) or 1.0)
        below = np.cumsum(counts) / counts.sum()
        levels = np.arange(1, self.buckets) / self.buckets
        edges = np.unique(values[np.searchsorted(below, levels, side="left")])
        return Buckets(tuple(edges[edges < values[-1]].tolist()))  # so every bucket has a number of training


@dataclass(frozen=True)
class MultiValued:
    """Lists whose members ``separator`` separates; their vectors' ``pooling`` is ``MEAN`` or ``SUM``."""

    separator: str
    pooling: str

    def fit(self, name: str, cells: Vocabulary, min_count: int) -> CellRows:
        """See ``Rule``. Members by descending count in training; those below ``min_count`` have no row."""
        parts = pl.DataFrame({"member": members(cells.values.cast(pl.String), self.separator), "count": cells.trained})
        counts = parts.filter(pl.col("member").list.len() > 0).explode("member").group_by("member").agg(pl.sum("count"))
        frequent = counts.filter(pl.col("count") >= max(1, min_count)).sort("count", "member", descending=[True, False])
        fitted = Members(self.separator, self.pooling, tuple(frequent["member"].to_list()))
        known = fitted.listed(cells.values).filter(pl.col("id") != UNKNOWN)["cell"].to_numpy()
        cut = int((np.bincount(known) > LONGEST).sum() if len(known) else 0)
        if not cut:
            return fitted
        log.warning(
            "%s: %s lists have more than %s members; the most frequent %s of each count", name, cut, LONGEST, LONGEST
        )
        # A member of long lists alone may never be among these, and nothing would be learned of it.
        taken = np.unique(fitted.encode(cells.values.filter(pl.Series(cells.trained > 0))).ids)
        kept = (fitted.values[row - FIRST_ID] for row in taken.tolist() if row >= FIRST_ID)
        return replace(fitted, values=tuple(kept))
