"""Batches by index arithmetic, on the device that trains: the whole store lies there, and no worker loads anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from data.gaps import gap_bucket
from data.schema import FIRST_ID, MATCH_DIFFERS, MATCH_EQUALS, PADDING, UNKNOWN, Batch
from data.store import GAP_FIELD, MATCH_PREFIX, SPLITS, EventStore
from data.streams import stream_seed


def epoch_order(rows: torch.Tensor, seed: int, epoch: int) -> torch.Tensor:
    """``rows`` in the order of an epoch, int64, on their device; the same for every device.

    The order comes from the stream (seed, "order", epoch): another epoch or another seed has another one, and a run
    that resumes needs no more than the epoch's number to have the same.
    """
    generator = torch.Generator().manual_seed(stream_seed(seed, "order", epoch))
    order = torch.randperm(len(rows), generator=generator)
    return rows[order.to(rows.device)]


_INT32 = np.iinfo(np.int32)


def _ids(codes: np.ndarray, rows: int) -> np.ndarray:
    """Codes reduced to the rows of their table."""
    return np.where(codes < rows, codes, UNKNOWN).astype(np.int32)


def _has_missing(store: EventStore, name: str) -> bool:
    """Whether a compared field is missing in any event or any candidate: then it may match nothing."""
    candidates = [samples.static[store.schema.target[name]] for samples in store.samples.values()]
    return any(bool((codes == UNKNOWN).any()) for codes in (store.events[name], *candidates))


@dataclass(frozen=True)
class _Split:
    """The samples of a split on the device, (samples,) each."""

    user: torch.Tensor
    first: torch.Tensor  # position of the history's first event
    length: torch.Tensor  # events of the history, int64
    time: torch.Tensor  # int32 seconds since the store's first event
    ids: Mapping[str, torch.Tensor]  # static field -> ids, int32
    targets: Mapping[str, torch.Tensor]  # match field -> the candidate's code, int32
    label: torch.Tensor


class DeviceStore:
    """A store's events and samples on a torch device, and the batches that are gathered from them.

    Ids are int32, which embeddings and indexing take as they are. ``schema`` is the store's.
    """

    def __init__(self, store: EventStore, device: torch.device | str) -> None:
        self.schema = store.schema
        self.device = torch.device(device)
        self._compared = {field.name: field.name.removeprefix(MATCH_PREFIX) for field in self.schema.matches}
        self._gap_buckets = sum(
            self.schema.tables[field.table] - FIRST_ID for field in self.schema.sequence if field.name == GAP_FIELD
        )
        self._origin = int(store.time.min()) if len(store.time) else 0
        self._position_type = torch.int32 if len(store.time) < _INT32.max else torch.int64
        self._padding_row = len(store.time)  # behind the last event there is one of padding
        tables = {field.name: self.schema.tables[field.table] for field in self.schema.sequence}
        self._ids = {name: self._put_events(_ids(codes, tables[name])) for name, codes in store.events.items()}
        self._codes = {name: self._put_events(store.events[name]) for name in self._compared.values()}
        self._incomplete = {name for name in self._codes if _has_missing(store, name)}
        self._time = self._put_events(self._since_origin(store.time))
        self._splits = {split: self._put_split(store, split) for split in SPLITS}

    def rows(self, split: str) -> torch.Tensor:
        """The row numbers of a split, (samples,) int64."""
        return torch.arange(len(self._splits[split].label), device=self.device)

    def labels(self, split: str) -> torch.Tensor:
        """Labels of a split, (samples,) float32, 0 or 1."""
        return self._splits[split].label

    def users(self, split: str) -> torch.Tensor:
        """Dense user index of a split's samples, (samples,) int64."""
        return self._splits[split].user

    def lengths(self, split: str) -> torch.Tensor:
        """Events of each sample's history, (samples,) int64."""
        return self._splits[split].length

    def gather(self, split: str, rows: torch.Tensor, longest: int | None = None) -> Batch:
        """The samples ``rows`` of a split; (replica, batch) int64 row numbers on the store's device.

        ``longest``  the longest history among them, where the caller knows it: finding it out waits for the device.
        """
        samples = self._splits[split]
        lengths = samples.length[rows]
        if longest is None:
            longest = int(lengths.max()) if lengths.numel() else 0
        steps = torch.arange(max(1, longest), device=self.device, dtype=self._position_type)
        valid = steps < lengths[..., None]  # (replica, batch, length)
        position = torch.where(valid, samples.first[rows][..., None] + steps, self._padding_row)
        flat = position.reshape(-1)
        real = valid.to(torch.int32)

        def of_events(column: torch.Tensor) -> torch.Tensor:
            return column.index_select(0, flat).view(position.shape)

        sequence = {name: of_events(ids) for name, ids in self._ids.items()}
        if self._gap_buckets:
            gaps = samples.time[rows][..., None] - of_events(self._time)
            sequence[GAP_FIELD] = gap_bucket(gaps, self._gap_buckets).add_(FIRST_ID).mul_(real)
        for match, name in self._compared.items():
            target = samples.targets[match][rows][..., None]
            sequence[match] = self._match(name, of_events(self._codes[name]), target).mul_(real)
        return Batch(
            static={name: ids[rows] for name, ids in samples.ids.items()},
            sequence=sequence,
            lengths=lengths,
            labels=samples.label[rows],
        )

    def _match(self, name: str, events: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Match ids of codes (replica, batch, length) against the candidate's (replica, batch, 1), int32."""
        match = (events == target).to(torch.int32).mul_(MATCH_EQUALS - MATCH_DIFFERS).add_(MATCH_DIFFERS)
        if name in self._incomplete:
            match.masked_fill_((events == UNKNOWN) | (target == UNKNOWN), UNKNOWN)
        return match

    def _since_origin(self, time: np.ndarray) -> np.ndarray:
        """Seconds since the first event, clipped to int32: 68 years."""
        return np.clip(time - self._origin, _INT32.min, _INT32.max).astype(np.int32)

    def _put(self, array: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
        return torch.from_numpy(np.array(array)).to(self.device, dtype)

    def _put_events(self, column: np.ndarray) -> torch.Tensor:
        return self._put(np.append(column, np.int32(PADDING)), torch.int32)

    def _put_split(self, store: EventStore, split: str) -> _Split:
        samples = store.samples[split]
        length = store.history_lengths(split)
        target = self.schema.target
        ids = {
            field.name: self._put(_ids(samples.static[field.name], self.schema.tables[field.table]), torch.int32)
            for field in self.schema.static
        }
        targets = {
            match: self._put(samples.static[target[name]], torch.int32) for match, name in self._compared.items()
        }
        return _Split(
            user=self._put(samples.user, torch.int64),
            first=self._put(samples.end - length, self._position_type),
            length=self._put(length, torch.int64),
            time=self._put(self._since_origin(samples.time), torch.int32),
            ids=ids,
            targets=targets,
            label=self._put(samples.label, torch.float32),
        )
