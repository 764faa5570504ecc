"""Adam on large embedding tables, where a row's steps are done when the row is next read.

Adam moves every row of a table at every step: momentum and weight decay act on rows that the batch never named. A step
reads a few rows in a hundred, so nearly all of an ordinary Adam's traffic is for rows that nobody looks at. Here a row
remembers the last step that was done on it, and a lookup first does, in registers, all that the row has missed: the
same operations in the same order, so the weights are those of Adam but for rounding. ``settle`` brings every row up to
date; whoever reads a table otherwise than by a training step's lookups settles first.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mdaf.model.kernels.backend import fused_backend
from mdaf.model.kernels.table_adam import BETA1, BETA2, Steps, Table
from mdaf.model.layers.basic import Embedding
from mdaf.model.ops.embedding import RowReader
from mdaf.sweeper.machine.device import put

#: Steps between two settlements at most: what each did is remembered until then.
CAPACITY = 1024


def can_defer(device: torch.device) -> bool:
    """Whether there are kernels for ``device``."""
    return fused_backend("deferred Adam", "auto", device, torch.float32) != "reference"


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, reader: RowReader) -> Tensor:
        keys, source = reader.catch_up(ids.flatten())
        ctx.save_for_backward(keys, source)
        ctx.reader = reader
        return F.embedding(ids, weight.detach().flatten(0, 1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[None, None, None]:
        ctx.reader.add_gradient(*ctx.saved_tensors, dout.flatten(0, -2))
        return None, None, None


class DeferredTable:
    """The table of one ``Embedding`` under a ``DeferredAdam``."""

    def __init__(self, embedding: Embedding, optimizer: DeferredAdam) -> None:
        self._embedding, self._optimizer = embedding, optimizer
        self._keys: list[Tensor] = []  # what the step under way has read
        self._lock = threading.Lock()  # held while rows are brought up to date
        self.mean, self.square, self._gradient, self._done, self._counted = self._zeros()
        embedding.deferred = self

    def read(self, ids: Tensor) -> Tensor:
        """The rows of ``ids`` as they are before this step; their gradients are kept here, not in the parameter's."""
        return self.read_by(self, ids)

    def read_by(self, reader: RowReader, ids: Tensor) -> Tensor:
        """The same, where ``reader`` brings the rows up to date and gets their gradients."""
        rows: Tensor = _Read.apply(self._embedding.weight, ids, reader)
        return rows

    def forget_reads(self) -> None:
        """Forgets what was read without a step."""
        self._keys = []

    def catch_up(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Brings the rows of ``ids`` (position,) up to the step under way; the ids sorted, and where each stood."""
        keys, source = self.bring_up_to_date(ids)
        self._keys.append(keys)
        return keys, source

    def bring_up_to_date(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """As ``catch_up``, but the rows are not yet part of the step. Several threads may call it at once."""
        keys, source = torch.sort(ids.to(torch.int32), stable=True)
        with self._lock:  # a row that is up to date is not written again, so no row changes that a thread has read
            self._optimizer.kernels.catch_up(self._table(), self._optimizer.steps, keys, 1)
        return keys, source

    def add(self, lookups: Lookups) -> None:
        """Makes ``lookups`` of another thread a part of the step under way."""
        self._keys += lookups.keys
        for gradient in lookups.gradients:
            self.add_gradient(*gradient)

    def add_gradient(self, keys: Tensor, source: Tensor, values: Tensor) -> None:
        """Adds the gradients ``values`` (position, dim) of a lookup."""
        self._optimizer.kernels.add_gradient(self._table(), self._optimizer.steps, keys, source, values)

    @property
    def was_read(self) -> bool:
        """Whether the step under way has read the table."""
        return bool(self._keys)

    def square_norms(self) -> Tensor:
        """The squared norms of this step's gradients, (replica,)."""
        norms: Tensor = self._optimizer.kernels.square_norms(self._table(), self._optimizer.steps, self._keys)
        return norms

    def step(self, clip: Tensor) -> None:
        """The step under way on the rows that it read."""
        self._optimizer.kernels.update(self._table(), self._optimizer.steps, self._keys, clip)
        self._keys = []

    def settle(self) -> None:
        """Does on every row what it has missed, then counts steps from 0."""
        everything = torch.arange(len(self._done), dtype=torch.int32, device=self._done.device)
        self._optimizer.kernels.catch_up(self._table(), self._optimizer.steps, everything, 0)
        self._done.zero_()
        self._counted.zero_()

    def keep(self, replicas: Sequence[int]) -> None:
        """Follows the parameter, which now holds these replicas alone."""
        self.mean, self.square = self.mean[list(replicas)], self.square[list(replicas)]
        _, _, self._gradient, self._done, self._counted = self._zeros()

    def _zeros(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Moments and gradient (replica, row, dim), and the two step numbers of each row (replica * row,)."""
        weight = self._embedding.weight.data
        number = torch.zeros(weight.shape[:2].numel(), dtype=torch.int32, device=weight.device)
        return (*(torch.zeros_like(weight) for _ in range(3)), number, number.clone())  # type: ignore[return-value]

    def _table(self) -> Table:
        weight, mean, square, gradient = (
            tensor.flatten(0, 1) for tensor in (self._embedding.weight.data, self.mean, self.square, self._gradient)
        )
        return Table(weight, mean, square, gradient, self._done, self._counted)


class Lookups:
    """The lookups of one thread in a ``DeferredTable``. They wait here for ``DeferredTable.add``.

    The order in which gradients are added decides how their sum is rounded, and threads end in any order.
    """

    def __init__(self, table: DeferredTable) -> None:
        self.table = table
        self.keys: list[Tensor] = []
        self.gradients: list[tuple[Tensor, Tensor, Tensor]] = []

    def read(self, ids: Tensor) -> Tensor:
        """As ``DeferredTable.read``."""
        return self.table.read_by(self, ids)

    def catch_up(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """As ``DeferredTable.catch_up``."""
        keys, source = self.table.bring_up_to_date(ids)
        self.keys.append(keys)
        return keys, source

    def add_gradient(self, keys: Tensor, source: Tensor, values: Tensor) -> None:
        """Keeps the gradients ``values`` (position, dim) of a lookup."""
        self.gradients.append((keys, source, values))


class DeferredAdam:
    """Adam, or AdamW where ``decoupled``, on the tables of ``embeddings`` of every replica.

    ``weight_decay`` (replica,) acts on all of the tables.
    """

    def __init__(
        self,
        embeddings: Mapping[str, Embedding],
        weight_decay: Sequence[float],
        decoupled: bool,
        device: torch.device,
        backend: str = "auto",
    ) -> None:
        backend = fused_backend("deferred Adam", backend, device, torch.float32)
        self.kernels: Any = importlib.import_module(f"mdaf.model.kernels.table_adam_{backend}")
        self._decay, self._decoupled, self._device = list(weight_decay), decoupled, device
        self._taken = [0] * len(self._decay)  # steps that a replica has taken, for the bias corrections
        self._number = 0  # of the step under way, since the last settlement
        self.steps = self._no_steps()
        self.tables = {name: DeferredTable(embedding, self) for name, embedding in embeddings.items()}

    def begin_step(self, learning_rates: Sequence[float]) -> None:
        """Before a step's first lookup: what the step will do to a row, by replica."""
        if self._number == CAPACITY:
            self.settle()
        self._number += 1
        rates: list[tuple[float, float, float]] = []
        for k, rate in enumerate(learning_rates):
            self._taken[k] += 1
            first, second = 1 - BETA1 ** self._taken[k], 1 - BETA2 ** self._taken[k]
            rates.append((rate / first, second**-0.5, rate * self._decay[k] if self._decoupled else 0.0))
        self.forget_reads()
        put(torch.tensor(rates), self.steps.rates[self._number])
        self.steps.now.fill_(self._number)

    def forget_reads(self) -> None:
        """Forgets what was read without a step."""
        for table in self.tables.values():
            table.forget_reads()

    def square_norms(self) -> Tensor:
        """The squared norm of each replica's gradient over all tables, (replica,) float32."""
        norms = [table.square_norms() for table in self.tables.values() if table.was_read]
        return torch.stack(norms).sum(dim=0) if norms else torch.zeros_like(self.steps.decay)

    def step(self, clip: Tensor) -> None:
        """The step under way on the rows that it read; ``clip`` (replica,) multiplies each replica's gradients."""
        for table in self.tables.values():
            if table.was_read:
                table.step(clip)

    def settle(self) -> None:
        """Brings every row of every table up to date."""
        if self._number == 0:
            return
        for table in self.tables.values():
            table.settle()
        self._number = 0
        self.steps.now.zero_()

    def keep(self, replicas: Sequence[int]) -> None:
        """Goes on with these replicas alone, after the model was reduced to them; everything was settled before."""
        self._decay = [self._decay[k] for k in replicas]
        self._taken = [self._taken[k] for k in replicas]
        self.steps = self._no_steps()
        for table in self.tables.values():
            table.keep(replicas)

    def restart(self, k: int) -> None:
        """Forgets replica k's moments, its tables being drawn anew."""
        self.settle()
        self._taken[k] = 0
        for table in self.tables.values():
            table.mean[k].zero_()
            table.square[k].zero_()

    def state(self, k: int) -> dict[str, Any]:
        """Replica k's steps and views of its moments, as its solo run would save them."""
        self.settle()
        moments = {
            name: {"exp_avg": table.mean[k], "exp_avg_sq": table.square[k]} for name, table in self.tables.items()
        }
        return {"step": self._taken[k], "tables": moments}

    def load_state(self, k: int, state: Mapping[str, Any]) -> None:
        """Goes on from ``state(k)``; the weights are the caller's to load."""
        self.settle()
        self._taken[k] = state["step"]
        for name, table in self.tables.items():
            table.mean[k].copy_(state["tables"][name]["exp_avg"])
            table.square[k].copy_(state["tables"][name]["exp_avg_sq"])

    def _no_steps(self) -> Steps:
        replicas, device = len(self._decay), self._device
        coupled = [0.0 if self._decoupled else decay for decay in self._decay]
        return Steps(
            torch.zeros((1 + CAPACITY, replicas, 3), device=device),
            torch.tensor(coupled, device=device),
            torch.zeros(1, dtype=torch.int32, device=device),
        )
