"""A few training samples, and the same ones changed in one thing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from mdaf.data.schema import PADDING, UNKNOWN, Batch
from mdaf.data.store.device_store import DeviceStore

ROWS = 8


def samples(store: DeviceStore, replicas: int = 1) -> Batch:
    """``ROWS`` training samples of each replica, of different history lengths, others for each replica."""
    return store.gather("train", rows(store, replicas))


def rows(store: DeviceStore, replicas: int = 1) -> Tensor:
    """The rows of these samples, (replica, batch)."""
    by_length = store.lengths("train").argsort(stable=True)
    count = min(ROWS, len(by_length))
    places = torch.linspace(0, len(by_length) - 1, count * replicas).long()
    return by_length[places].view(count, replicas).T.contiguous()


def changed(batch: Batch, change: Callable[[Tensor], Tensor], *, static: bool = True, sequence: bool = True) -> Batch:
    """The batch with every tensor of ids, and of weights, replaced by ``change`` of it."""

    def all_of(tensors: Mapping[str, Tensor], applies: bool) -> dict[str, Tensor]:
        return {name: change(tensor) if applies else tensor for name, tensor in tensors.items()}

    return replace(batch, static=all_of(batch.static, static), sequence=all_of(batch.sequence, sequence))


def without_history(batch: Batch) -> Batch:
    """Histories of no event, padded to one position, as a batch of new users has them."""
    empty = changed(batch, lambda ids: torch.full_like(ids[:, :, :1], PADDING), static=False)
    return replace(empty, lengths=torch.zeros_like(batch.lengths))


def unknown(batch: Batch) -> Batch:
    """Ids that training has not seen, in every field and every event. Weights stay as they are."""
    real = {"static": torch.ones_like(batch.lengths, dtype=torch.bool), "sequence": _real(batch)}

    def all_of(tensors: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
        return {
            name: ids if ids.is_floating_point() else torch.where(_fit(real[kind], ids) & (ids != 0), UNKNOWN, ids)
            for name, ids in tensors.items()
        }

    return replace(batch, static=all_of(batch.static, "static"), sequence=all_of(batch.sequence, "sequence"))


def longest(batch: Batch, length: int) -> Batch:
    """Every history full: its events again and again, up to ``length`` of them."""
    events = batch.sequence[next(iter(batch.sequence))].shape[2] if batch.sequence else 1
    place = torch.arange(length, device=batch.lengths.device) % batch.lengths.clamp(min=1, max=events)[..., None]

    def filled(ids: Tensor) -> Tensor:
        index = place.view(*place.shape, *[1] * (ids.dim() - 3)).expand(*place.shape, *ids.shape[3:])
        return ids.gather(2, index)

    return replace(changed(batch, filled, static=False), lengths=torch.full_like(batch.lengths, length))


def mixed(batch: Batch, other: Batch, kept: Tensor) -> Batch:
    """``batch`` at the samples ``kept`` (batch,), bool, and ``other``, which has the same lengths, at the rest."""

    def both(one: Mapping[str, Tensor], another: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: torch.where(_fit(kept[None], ids), ids, another[name]) for name, ids in one.items()}

    return replace(batch, static=both(batch.static, other.static), sequence=both(batch.sequence, other.sequence))


def alone(batch: Batch, row: int) -> Batch:
    """One sample of the batch, with no more padding than it needs by itself."""
    only, longest = slice(row, row + 1), max(1, int(batch.lengths[:, row].max()))
    one = changed(batch, lambda tensor: tensor[:, only], sequence=False)
    one = changed(one, lambda tensor: tensor[:, only, :longest], static=False)
    return replace(one, lengths=batch.lengths[:, only], labels=batch.labels[:, only])


def part(batch: Batch, replica: int) -> Batch:
    """One replica's samples, with the replica axis."""
    only = slice(replica, replica + 1)
    one = changed(batch, lambda tensor: tensor[only])
    return replace(one, lengths=batch.lengths[only], labels=batch.labels[only])


def _real(batch: Batch) -> Tensor:
    """Whether each position has an event, (replica, batch, length)."""
    length = max((ids.shape[2] for ids in batch.sequence.values()), default=1)
    return torch.arange(length, device=batch.lengths.device) < batch.lengths[..., None]


def _fit(mask: Tensor, ids: Tensor) -> Tensor:
    return mask.view(*mask.shape, *[1] * (ids.dim() - mask.dim()))
