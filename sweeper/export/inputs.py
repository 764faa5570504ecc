"""What an exported model is fed with: one tensor a field, by name, in place of a ``Batch``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mdaf.data.schema import FIRST_ID, UNKNOWN, Batch, Field, Schema, weights_of
from mdaf.errors import UserError
from mdaf.model.ctr import CTRModel, Output
from mdaf.model.plain import PlainModel, unstacked

LENGTHS = "lengths"
STATIC, SEQUENCE = "static", "sequence"


@dataclass(frozen=True)
class Input:
    """A tensor that a model reads.

    ``name``    in the exported files, such as ``static.user``.
    ``of``      ``static``, ``sequence`` or, for the lengths of histories, ``lengths``.
    ``key``     the tensor's key in that mapping of a ``Batch``.
    ``dtype``   ``int64`` or ``float32``.
    ``axes``    ``batch``, ``length``, or a number: the size of that axis.
    """

    name: str
    of: str
    key: str
    dtype: torch.dtype
    axes: tuple[str | int, ...]

    @property
    def field(self) -> str | None:
        """The field whose ids or weights this is; None for the lengths."""
        return None if self.of == LENGTHS else self.key.removesuffix(weights_of(""))

    def taken_from(self, batch: Batch) -> Tensor:
        """This input for the first replica's samples of a batch."""
        of = {STATIC: batch.static, SEQUENCE: batch.sequence, LENGTHS: {LENGTHS: batch.lengths}}
        return of[self.of][self.key][0].to(self.dtype)


def inputs_of(model: CTRModel, batch: Batch) -> list[Input]:
    """The inputs that a model reads, in the order of ``batch``, which may be any batch of the model's fields."""
    watched = _WatchedBatch(batch)
    with torch.no_grad():
        model(watched)
    found = []
    for of, tensors, axes in ((STATIC, batch.static, ("batch",)), (SEQUENCE, batch.sequence, ("batch", "length"))):
        for key, tensor in tensors.items():
            if (of, key) in watched.read:
                members = tensor.shape[1 + len(axes) :]  # of a field that is a number or a list
                dtype = torch.float32 if tensor.is_floating_point() else torch.int64
                found.append(Input(f"{of}.{key}", of, key, dtype, (*axes, *members)))
    if not found:
        raise UserError("the model reads no field, so there is nothing to export")
    if (LENGTHS, LENGTHS) in watched.read:
        found.append(Input(LENGTHS, LENGTHS, LENGTHS, torch.int64, ("batch",)))
    return found


class _WatchedBatch(Batch):
    """A batch that notes in ``read`` what is read of it: (mapping, key)."""

    read: set[tuple[str, str]]

    def __init__(self, batch: Batch) -> None:
        read: set[tuple[str, str]] = set()
        static, sequence = _Watched(batch.static, STATIC, read), _Watched(batch.sequence, SEQUENCE, read)
        super().__init__(static, sequence, batch.lengths, batch.labels)
        object.__setattr__(self, "read", read)

    def __getattribute__(self, name: str) -> Any:
        if name == LENGTHS:
            self.read.add((LENGTHS, LENGTHS))
        return super().__getattribute__(name)


class _Watched(Mapping[str, Tensor]):
    """A mapping that notes which of its keys are read."""

    def __init__(self, tensors: Mapping[str, Tensor], of: str, read: set[tuple[str, str]]) -> None:
        self._tensors, self._of, self._read = tensors, of, read

    def __getitem__(self, key: str) -> Tensor:
        self._read.add((self._of, key))
        return self._tensors[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


class Stripped(torch.nn.Module):
    """A model of one replica without the axis of replicas: batch (batch, ...) -> logits (batch,)."""

    def __init__(self, model: CTRModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        static, sequence = (
            {key: tensor.unsqueeze(0) for key, tensor in part.items()} for part in (batch.static, batch.sequence)
        )
        output = self.model(Batch(static, sequence, batch.lengths.unsqueeze(0), batch.labels.unsqueeze(0)))
        logits: Tensor = output.logits[0]
        return logits


class Scoring(torch.nn.Module):
    """A model of one replica as a function of its inputs: name -> tensor, without the axis of replicas.

    Returns the logit and the score, the probability of a click, of each sample: (batch,) float32.
    """

    def __init__(self, model: CTRModel, inputs: list[Input]) -> None:
        super().__init__()
        self.model = unstacked(model) if isinstance(model, PlainModel) else Stripped(model)
        self._inputs = inputs

    def forward(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        def those_of(of: str) -> dict[str, Tensor]:
            return {one.key: tensors[one.name] for one in self._inputs if one.of == of}

        static, sequence = those_of(STATIC), those_of(SEQUENCE)
        samples = next(iter(tensors.values())).shape[0]
        zeros = torch.zeros(samples)  # labels, which no score depends on, and lengths that the model does not read
        lengths = those_of(LENGTHS).get(LENGTHS, zeros.long())
        found = self.model(Batch(static, sequence, lengths, zeros))
        logit = (found.logits if isinstance(found, Output) else found).float()
        return logit, torch.sigmoid(logit)


def edge_batches(schema: Schema, seed: int = 0) -> Iterator[Batch]:
    """Random batches at the edges of what a model may be fed with; the first one is for tracing.

    No history, the longest one, unknown ids only, a single sample, a single event, and several sizes.
    """
    draw = torch.Generator().manual_seed(seed)
    longest = schema.length
    some = min(longest, 3)
    yield random_batch(schema, [min(2, longest), 0, some], draw)
    yield random_batch(schema, [0], draw)
    yield random_batch(schema, [0, 0, 0, 0], draw)
    yield random_batch(schema, [1, 1], draw)
    yield random_batch(schema, [longest, longest], draw)
    yield random_batch(schema, [longest, some], draw, known=False)
    yield random_batch(schema, torch.randint(longest + 1, (17,), generator=draw).tolist(), draw)


def random_batch(schema: Schema, lengths: list[int], draw: torch.Generator, known: bool = True) -> Batch:
    """A batch of one replica with histories of the given ``lengths``; ids are unknown ones unless ``known``."""
    counts = torch.tensor([lengths])
    valid = torch.arange(max(1, *lengths)) < counts[..., None]

    def cells(fields: Iterable[Field], real: Tensor) -> Iterator[tuple[str, Tensor]]:
        for field in fields:
            rows = schema.tables[field.table]
            shape, kept = real.shape, real
            if schema.weighted(field):
                members = schema.cells[field.table].members
                shape = torch.Size((*real.shape, members))
                count = torch.randint(1, members + 1, (*real.shape, 1), generator=draw)
                kept = real[..., None] & (torch.arange(members) < count)
            most = rows if known and rows > FIRST_ID else FIRST_ID
            yield field.name, torch.randint(UNKNOWN, most, shape, generator=draw) * kept
            if schema.weighted(field):
                yield weights_of(field.name), torch.randn(shape, generator=draw) * kept

    return Batch(
        static=dict(cells(schema.static, torch.ones_like(counts, dtype=torch.bool))),
        sequence=dict(cells((*schema.sequence, *schema.matches), valid)),
        lengths=counts,
        labels=torch.zeros(counts.shape),
    )
