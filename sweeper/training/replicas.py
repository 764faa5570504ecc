"""K models of one shape trained in lock-step, each with hyperparameters and random streams of its own.

A single run is K = 1. Replicas may differ in exactly ``Hyperparameters``; none of them changes the shape of a tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mdaf.model.layers.basic import dropout_keys, set_dropout
from mdaf.model.stack import keep, stack
from mdaf.streams import stream_seed
from mdaf.sweeper.machine.device import put
from mdaf.sweeper.training.building.initialization import all_initialized, initialized
from mdaf.sweeper.training.optim.replica_optimizers import OptimizerSettings, ReplicaOptimizers, Update
from mdaf.sweeper.training.stepping.parallel import MOST_NUMBERS, can_share


@dataclass(frozen=True)
class Hyperparameters:
    """The hyperparameters that replicas in lock-step may have different values of.

    ``embedding_l2``       weight decay of embedding tables in addition to ``weight_decay``.
    ``reinit_embeddings``  whether embedding tables are drawn again at each epoch but the first.
    ``positive_weight``    how many times a click's loss counts. ``focal_gamma``: of the focal loss.
    """

    seed: int
    dropout: float
    weight_decay: float
    label_smoothing: float
    learning_rate: float
    embedding_l2: float = 0.0
    reinit_embeddings: bool = False
    positive_weight: float = 1.0
    focal_gamma: float = 2.0


#: The config key of each hyperparameter. Jobs that differ in any other key cannot train in lock-step.
REPLICA_KEYS = {
    "seed": "seed",
    "dropout": "regularization.dropout",
    "weight_decay": "regularization.weight_decay",
    "label_smoothing": "regularization.label_smoothing",
    "learning_rate": "training.learning_rate",
    "embedding_l2": "regularization.embedding_l2",
    "reinit_embeddings": "regularization.reinit_embeddings",
    "positive_weight": "training.positive_weight",
    "focal_gamma": "training.focal_gamma",
}


class Trained(Protocol):
    """What evaluation and checkpoints need from a trained model of one or several replicas."""

    model: nn.Module
    hyperparameters: list[Hyperparameters]
    device: torch.device

    def __len__(self) -> int: ...

    def optimizer_state(self, k: int) -> list[dict[str, Any]]:
        """The states of replica k's optimizers."""
        ...


class Replicas:
    """The stacked model and its optimizers.

    A replica's updates, optimizer state and checkpoints equal those of a run that trains it alone.
    """

    def __init__(
        self,
        build_model: Callable[[], nn.Module],
        hyperparameters: Sequence[Hyperparameters],
        update: Update,
        device: torch.device,
    ) -> None:
        self._build_model = build_model
        self.hyperparameters = list(hyperparameters)
        self.numbers = list(range(len(self.hyperparameters)))
        self.device = device
        in_threads = getattr(build_model, "in_threads", False)
        seeds = [h.seed for h in self.hyperparameters]
        self.model = stack(all_initialized(build_model, seeds, in_threads=in_threads), device)
        self._columns: dict[str, Tensor] = {}
        self._dropout_keys = torch.empty(0)
        self._factors = [1.0] * len(self.hyperparameters)
        settings = [
            OptimizerSettings(h.learning_rate, h.weight_decay, h.weight_decay + h.embedding_l2)
            for h in self.hyperparameters
        ]
        self._optimizers = ReplicaOptimizers(self.model, settings, update, device)

    def __len__(self) -> int:
        return len(self.numbers)

    def column(self, name: str) -> Tensor:
        """One hyperparameter of every replica, (replica,) float32 on the device."""
        if name not in self._columns:
            self._columns[name] = torch.tensor([getattr(h, name) for h in self.hyperparameters], device=self.device)
        return self._columns[name]

    def draw_dropout(self, step: int, first: int = 0) -> None:
        """Sets the dropout masks of a forward pass in training step ``step``.

        ``first`` is the position in the batch of the first sample of this forward pass.
        """
        seeds = [stream_seed(h.seed, "dropout", step, 0) >> 1 for h in self.hyperparameters]
        keys = dropout_keys(self.model, seeds)
        if self._dropout_keys.shape != keys.shape:
            self._dropout_keys = keys.to(self.device)
        else:  # in place: a captured step reads them here
            put(keys, self._dropout_keys)
        set_dropout(self.model, self.column("dropout"), self._dropout_keys, first)

    def mask_from(self, first: int, model: nn.Module) -> None:
        """Gives a copy of the model the masks that were drawn last, for a forward pass that begins at row ``first``."""
        set_dropout(model, self.column("dropout"), self._dropout_keys, first)

    def set_learning_rates(self, factors: Sequence[float]) -> None:
        """Multiplies each replica's learning rate by its factor from the next step on."""
        self._factors = list(factors)

    def begin_step(self) -> None:
        """Prepares the optimizers for a training step; call it before the first forward pass, outside of a graph."""
        self._optimizers.begin_step(self._factors)

    def step(self, clip_norm: float | None) -> None:
        """Steps every replica's optimizers, with gradients clipped by the replica's own norm, and clears gradients."""
        self._optimizers.step(clip_norm)
        self.model.zero_grad(set_to_none=True)

    def forget_reads(self) -> None:
        """Takes back what forward passes of this step have read, because the step is taken anew."""
        self._optimizers.forget_reads()

    def settle(self) -> None:
        """Applies all deferred steps. Call it before anything but a training step reads the weights."""
        self._optimizers.settle()

    def begin_epoch(self, epoch: int) -> None:
        """Draws the embedding tables again, and zeroes their moments, of each replica with ``reinit_embeddings``.

        Not in the first epoch. After MEDA (arXiv 2305.19531): the embeddings overfit after one epoch, while the layers
        keep what they have learnt.
        """
        for k, h in enumerate(self.hyperparameters):
            if not h.reinit_embeddings or epoch == 1:
                continue
            fresh = dict(initialized(self._build_model, h.seed, epoch).named_parameters())
            named = dict(self.model.named_parameters())
            self._optimizers.restart_tables(k)
            for name in self._optimizers.tables:
                named[name].data[k].copy_(fresh[name].detach()[0])

    def leave(self, numbers: Sequence[int]) -> None:
        """Removes the replicas with these numbers from the stack; the others go on unchanged."""
        staying = [k for k, number in enumerate(self.numbers) if number not in numbers]
        self.settle()
        keep(self.model, staying)
        self.numbers = [self.numbers[k] for k in staying]
        self.hyperparameters = [self.hyperparameters[k] for k in staying]
        self._factors = [self._factors[k] for k in staying]
        self._columns.clear()
        self._optimizers.keep(staying)

    def optimizer_state(self, k: int) -> list[dict[str, Any]]:
        """The states of replica k's optimizers, as a run that trains it alone would save them."""
        return self._optimizers.state(k)

    def load_optimizer_state(self, k: int, states: Sequence[Mapping[str, Any]]) -> None:
        """Loads the result of ``optimizer_state`` into replica k's optimizers. ValueError if it does not fit."""
        self._optimizers.load_state(k, states)

    @property
    def separable(self) -> bool:
        """Whether the loss of a batch is a sum over its samples, so that it can be computed in micro-batches."""
        return bool(getattr(self.model, "separable", True))

    @property
    def thread_safe(self) -> bool:
        """Whether several threads can compute micro-batches at once, each with a gradient of its own."""
        return can_share(self.model) and self._optimizers.dense_numbers <= MOST_NUMBERS

    @property
    def capturable(self) -> bool:
        """Whether a step never waits for the host, so that a CUDA graph can capture it."""
        return self._optimizers.capturable and bool(getattr(self.model, "capturable", True))
