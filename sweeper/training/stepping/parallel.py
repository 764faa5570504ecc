"""The gradient of a batch whose micro-batches several threads of a CPU compute at once.

Results do not depend on which thread computes what, nor on which one ends first. Each thread has the same share of
torch's threads for its operations, and what the micro-batches give is added up in their order.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mdaf.errors import UserError
from mdaf.messages.reporting import one_line
from mdaf.model.layers.basic import Embedding
from mdaf.sweeper.training.optim.deferred_adam import Lookups

#: The most numbers in a gradient of which each thread has its own: 64 MB.
MOST_NUMBERS = 1 << 24


def can_share(model: nn.Module) -> bool:
    """Whether several threads can compute forward passes of ``model`` at once; a class says so for itself alone."""
    return bool(vars(type(model)).get("thread_safe", False))


class Sharing:
    """A copy of a model for one thread. It has the model's tensors, and attributes of its own.

    So its dropout can begin at another row. What it reads of a deferred table waits for ``take_lookups``. UserError if
    an attribute cannot be copied.
    """

    def __init__(self, model: nn.Module) -> None:
        made: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
        tables = [m.deferred for m in model.modules() if isinstance(m, Embedding) and m.deferred is not None]
        made |= {id(table): table for table in tables}
        try:
            self.model = copy.deepcopy(model, made)
        except Exception as error:
            raise UserError(
                f"{type(model).__name__}.thread_safe: each thread needs a copy of the model, which cannot be made: "
                f"{one_line(error)}; set thread_safe = False, or create that attribute in forward"
            ) from error
        self._embeddings = [m for m in self.model.modules() if isinstance(m, Embedding) and m.deferred is not None]
        self._tables: list[Any] = [m.deferred for m in self._embeddings]
        self.take_lookups()

    def take_lookups(self) -> list[Lookups]:
        """The lookups since the last call, of each deferred table."""
        taken = [m.deferred for m in self._embeddings if isinstance(m.deferred, Lookups)]
        for embedding, table in zip(self._embeddings, self._tables, strict=True):
            embedding.deferred = Lookups(table)
        return taken


class GradientSum:
    """Adds the gradients of micro-batches to ``parameters``, in the order of the micro-batches' numbers.

    Several threads may call ``add``. A gradient waits until those before it are there.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = parameters
        self._lock = threading.Lock()
        self._waiting: dict[int, tuple[Sequence[Tensor | None], Sequence[Lookups]]] = {}
        self._next = 0

    def add(self, number: int, gradients: Sequence[Tensor | None], lookups: Sequence[Lookups]) -> None:
        """Adds those of micro-batch ``number``: of each parameter, None where it has none, and of deferred tables."""
        with self._lock:
            self._waiting[number] = gradients, lookups
            while (found := self._waiting.pop(self._next, None)) is not None:
                self._add(*found)
                self._next += 1

    @torch.no_grad()
    def _add(self, gradients: Sequence[Tensor | None], lookups: Sequence[Lookups]) -> None:
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            if gradient is None:
                continue
            if (
                parameter.grad is None
            ):  # a copy: two parameters may have got one tensor, and Adam wants their own layout
                parameter.grad = torch.empty_like(parameter).copy_(gradient)
            else:
                parameter.grad.add_(gradient)
        for of_table in lookups:
            of_table.table.add(of_table)
