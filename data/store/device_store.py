"""The store on the training device, and its batches, which are gathered by index arithmetic, without workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from mdaf.data.schema import FIRST_ID, MATCH_DIFFERS, MATCH_EQUALS, UNKNOWN, Batch, Field, weights_of
from mdaf.data.store.arrays import parts_of, read_part, read_parts
from mdaf.data.store.batches.candidate_groups import candidate_groups
from mdaf.data.store.batches.columns import Column, Mapped, Resident, device_bytes
from mdaf.data.store.batches.histories import item_in_history
from mdaf.data.store.batches.time_gaps import gap_bucket
from mdaf.data.store.event_store import GAP_FIELD, MATCH_PREFIX, EventStore
from mdaf.errors import DataError
from mdaf.streams import stream_seed


def _shuffled_steps(steps: torch.Tensor, valid: torch.Tensor, rows: torch.Tensor, stream: int) -> torch.Tensor:
    """Shuffles ``steps`` (length,) for each sample; the order depends only on the row of the sample.

    ``valid`` (replica, batch, length) steps come first, so that padding stays at the end; rows (replica, batch).
    Returns (replica, batch, length).
    """
    word = (rows[..., None] * 0x9E3779B1 + steps.long() * 0x85EBCA77 + stream).remainder(_WORD)
    for multiplier in (0x7FEB352D, 0x846CA68B):  # two rounds of shifts and odd multipliers mix all bits of 32
        word = ((word ^ (word >> 16)) * multiplier).remainder(_WORD)
        word = word ^ (word >> 15)
    return word.masked_fill(~valid, _WORD).argsort(dim=-1, stable=True).to(steps.dtype)


_INT32 = np.iinfo(np.int32)
_WORD = 1 << 32


def _ids(rows: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function from codes to rows of their embedding table; it raises DataError for a negative code."""

    def reduced(codes: np.ndarray) -> np.ndarray:
        if (lowest := codes.min(initial=0)) < 0:
            raise DataError(f"the store holds the code {lowest}, which names nothing; delete it and prepare it again")
        return np.where(codes < rows, codes, UNKNOWN).astype(np.int32)

    return reduced


def _same(codes: np.ndarray) -> np.ndarray:
    return codes


def resident_bytes(store: EventStore) -> int:
    """The memory that a store takes on a device, in bytes."""
    schema = store.schema
    samples = sum(len(split) for split in store.samples.values())
    a_sample = 4 * (4 + len(schema.static) + len(schema.matches))  # first, length, label, time
    an_event = 4 * (len(store.events) + len(schema.matches) + 1)
    cells = sum(array.nbytes for table in schema.cells for array in store.pairs(table))
    return samples * a_sample + len(store.time) * an_event + cells


def _has_missing(store: EventStore, name: str) -> bool:
    """Whether any event or any candidate lacks a compared field. A missing value matches nothing."""
    candidates = [samples.static[store.schema.target[name]] for samples in store.samples.values()]
    return any(
        bool((codes == UNKNOWN).any()) for array in (store.events[name], *candidates) for codes in read_parts(array)
    )


@dataclass(frozen=True)
class _Cells:
    """The rows that the cells of a numeric or multi-valued field read, by the code of the cell.

    ``ids``      (codes, member) int32; (codes,) if not weighted.
    ``weights``  (codes, member) float32; None if not weighted.
    """

    ids: torch.Tensor
    weights: torch.Tensor | None

    @classmethod
    def of(cls, store: EventStore, table: str, device: torch.device) -> _Cells:
        ids, weights = (torch.from_numpy(np.array(array)).to(device) for array in store.pairs(table))
        return cls(ids, weights) if store.schema.cells[table].weighted else cls(ids[:, 0], None)

    def read(self, name: str, codes: torch.Tensor) -> dict[str, torch.Tensor]:
        """The ids of cells with these ``codes`` (...) in the field ``name``, and beside them the weights."""

        def of(values: torch.Tensor) -> torch.Tensor:
            return values.index_select(0, codes.reshape(-1)).view(*codes.shape, *values.shape[1:])

        return {name: of(self.ids)} | ({} if self.weights is None else {weights_of(name): of(self.weights)})


@dataclass(frozen=True)
class _Split:
    """The samples of a split, (samples,) each."""

    first: torch.Tensor  # position of the history's first event
    length: torch.Tensor  # events of the history, int32
    label: torch.Tensor
    time: Column  # seconds since the store's first event
    ids: Mapping[str, Column]  # static field -> ids, or codes of cells
    targets: Mapping[str, Column]  # match field -> the candidate's code


class DeviceStore:
    """A store's events and samples on a torch device, and the batches that are gathered from them.

    Ids are int32, the type that embeddings and indexing take. ``schema`` is that of the store. The rows of numeric and
    multi-valued cells are looked up on the device, from the cells' codes.

    ``memory_fraction``  the fraction of the device's memory that the store may take. A larger store stays in its
                         memory-mapped files: the CPU gathers batches, and finished batches go to the device.
    ``history_order``    ``time``, or ``shuffled``: each history is in a fixed random order of its own. The order of
                         events then says nothing about time; only an event's fields do, such as its gap.
    """

    def __init__(
        self,
        store: EventStore,
        device: torch.device | str,
        memory_fraction: float = 1.0,
        history_order: str = "time",
    ) -> None:
        self.schema = store.schema
        self._shuffled = history_order == "shuffled"
        self.device = torch.device(device)
        self.mapped = resident_bytes(store) > memory_fraction * device_bytes(self.device)
        self._home = torch.device("cpu") if self.mapped else self.device
        self._compared = {field.name: field.name.removeprefix(MATCH_PREFIX) for field in self.schema.matches}
        self._gap_buckets = sum(
            self.schema.tables[field.table] - FIRST_ID for field in self.schema.sequence if field.name == GAP_FIELD
        )
        self._origin = min((int(part.min()) for part in read_parts(store.time)), default=0)
        self._padding_row = len(store.time)  # after the last event there is one of padding
        self._cells = {table: _Cells.of(store, table, self.device) for table in self.schema.cells}
        events = [field for field in self.schema.sequence if field.name in store.events]
        self._tables = {field.name: field.table for field in (*self.schema.static, *events)}
        self._ids = {field.name: self._id_column(field, store.events[field.name]) for field in events}
        self._codes = {name: self._column(store.events[name], _same) for name in self._compared.values()}
        self._incomplete = {name for name in self._codes if _has_missing(store, name)}
        self._time = self._column(store.time, self._since_origin)
        self._store = store
        self._splits: dict[str, _Split] = {}  # each is loaded when it is first needed
        self._labels: dict[str, torch.Tensor] = {}
        self._lengths: dict[str, torch.Tensor] = {}
        self._held: dict[str, torch.Tensor | None] = {}
        self._groups: dict[str, torch.Tensor | None] = {}

    def rows(self, split: str) -> torch.Tensor:
        """The row numbers of a split, (samples,) int64."""
        return torch.arange(len(self._store.samples[split]), device=self.device)

    def labels(self, split: str) -> torch.Tensor:
        """Labels of a split, (samples,) float32, 0 or 1."""
        if split not in self._labels:
            self._labels[split] = self._samples(split).label.to(self.device)
        return self._labels[split]

    def users(self, split: str) -> torch.Tensor:
        """Dense user index of a split's samples, (samples,) int64."""
        users = self._store.users_of[self._store.samples[split].user]
        return torch.from_numpy(users.astype(np.int64)).to(self.device)

    def lengths(self, split: str) -> torch.Tensor:
        """Events of each sample's history, (samples,) int32."""
        if split not in self._lengths:
            self._lengths[split] = self._samples(split).length.to(self.device)
        return self._lengths[split]

    def item_in_history(self, split: str) -> torch.Tensor | None:
        """Whether the item of each of a split's samples is in its history, bool (samples,); None without items."""
        if split not in self._held:
            held = item_in_history(self._store, split)
            self._held[split] = None if held is None else torch.from_numpy(held).to(self.device)
        return self._held[split]

    def candidate_groups(self, split: str) -> torch.Tensor | None:
        """The number of each sample's candidate group, int64 (samples,); None where the log has labels."""
        if split not in self._groups:
            groups = candidate_groups(self._store, split)
            self._groups[split] = None if groups is None else torch.from_numpy(groups).to(self.device, torch.int64)
        return self._groups[split]

    def gather(self, split: str, rows: torch.Tensor, longest: int | None = None) -> Batch:
        """The batch of the samples ``rows`` of a split; rows (replica, batch) int64 on the store's device.

        ``longest``  the longest history among them, if the caller knows it: computing it waits for the device.
        """
        rows = rows.to(self._home)
        samples = self._samples(split)
        lengths = samples.length[rows]
        if longest is None:
            longest = int(lengths.max()) if lengths.numel() else 0
        steps = torch.arange(max(1, longest), device=self._home, dtype=samples.first.dtype)
        valid = steps < lengths[..., None]  # (replica, batch, length)
        if self._shuffled:
            steps = _shuffled_steps(steps, valid, rows, stream_seed(0, "history order", split))
        position = torch.where(valid, samples.first[rows][..., None] + steps, self._padding_row)
        real = valid.to(torch.int32)
        sequence = {name: ids.take(position) for name, ids in self._ids.items()}
        if self._gap_buckets:
            gaps = samples.time.take(rows)[..., None] - self._time.take(position)
            sequence[GAP_FIELD] = gap_bucket(gaps, self._gap_buckets).add_(FIRST_ID).mul_(real)
        for match, name in self._compared.items():
            target = samples.targets[match].take(rows)[..., None]
            sequence[match] = self._match(name, self._codes[name].take(position), target).mul_(real)
        return Batch(
            static=self._read({name: ids.take(rows) for name, ids in samples.ids.items()}),
            sequence=self._read(sequence),
            lengths=lengths.to(self.device, torch.int64),
            labels=samples.label[rows].to(self.device),
        )

    def _read(self, found: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The ids of fields on the device, and the weights of weighted ones; ``found`` has codes for those of cells."""
        read: dict[str, torch.Tensor] = {}
        for name, ids in found.items():
            cells = self._cells.get(self._tables.get(name, ""))
            read |= {name: ids.to(self.device)} if cells is None else cells.read(name, ids.to(self.device))
        return read

    def _match(self, name: str, events: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Match ids, int32, of events' codes (replica, batch, length) and the candidate's code (replica, batch, 1)."""
        match = (events == target).to(torch.int32).mul_(MATCH_EQUALS - MATCH_DIFFERS).add_(MATCH_DIFFERS)
        if name in self._incomplete:
            match.masked_fill_((events == UNKNOWN) | (target == UNKNOWN), UNKNOWN)
        return match

    def _since_origin(self, time: np.ndarray) -> np.ndarray:
        """Seconds since the first event, clipped to int32: 68 years."""
        return np.clip(time - self._origin, _INT32.min, _INT32.max).astype(np.int32)

    def _column(self, array: np.ndarray, convert: Callable[[np.ndarray], np.ndarray]) -> Column:
        return Mapped(array, convert) if self.mapped else Resident.of(array, convert, self._home)

    def _id_column(self, field: Field, codes: np.ndarray) -> Column:
        cells = self._cells.get(field.table)
        return self._column(codes, _ids(self.schema.tables[field.table] if cells is None else len(cells.ids)))

    def _samples(self, split: str) -> _Split:
        if split not in self._splits:
            self._splits[split] = self._split(self._store, split)
        return self._splits[split]

    def _split(self, store: EventStore, split: str) -> _Split:
        samples = store.samples[split]
        length = store.history_lengths(split)
        first = np.empty(len(samples), dtype=np.int32 if len(store.time) < _INT32.max else np.int64)
        for part in parts_of(len(samples)):
            first[part] = read_part(samples.end, part) - length[part]
        target = self.schema.target
        return _Split(
            first=torch.from_numpy(first).to(self._home),
            length=torch.from_numpy(length).to(self._home),
            label=torch.from_numpy(read_part(samples.label, slice(None))).to(self._home, torch.float32),
            time=self._column(samples.time, self._since_origin),
            ids={field.name: self._id_column(field, samples.static[field.name]) for field in self.schema.static},
            targets={
                match: self._column(samples.static[target[name]], _same) for match, name in self._compared.items()
            },
        )
