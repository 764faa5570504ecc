"""One training step of all replicas. On CUDA, a graph is captured once for each shape of batch and then replayed.

A step launches over a thousand kernels, and a GPU finishes most of them sooner than Python can launch the next. A CUDA
graph launches all of them at once. What changes from step to step (rows, dropout keys, learning rates) is in tensors
that are written before each replay. What changes a shape (batch size, longest history, number of replicas) needs
another graph. Histories are padded to one of a few lengths, so that there are few graphs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mdaf.data.schema import Batch
from mdaf.data.store.device_store import DeviceStore
from mdaf.messages.reporting import is_out_of_memory
from mdaf.model.kernels.backend import interpreting, triton_obstacle
from mdaf.model.kernels.precompile import requests_only
from mdaf.model.layers.basic import set_dropout
from mdaf.sweeper.machine.device import computing_in, make_current
from mdaf.sweeper.machine.threads import WORTH_THREADS, threads_for, weights_of_layers, workers_for
from mdaf.sweeper.machine.workers import at_once
from mdaf.sweeper.training.replicas import Replicas
from mdaf.sweeper.training.stepping.capture import Captured, capture
from mdaf.sweeper.training.stepping.losses import BatchLoss, SampleLoss, branch_losses, cross_entropy
from mdaf.sweeper.training.stepping.microbatches import (
    MicroBatch,
    micro_batch_sizes,
    position_weight,
    sizes_for_workers,
)
from mdaf.sweeper.training.stepping.parallel import GradientSum, Sharing
from mdaf.terminal.progress import working

log = logging.getLogger(__name__)

#: Histories of these lengths need every kernel that histories of other lengths need.
LENGTHS = (3, 4)
#: Compiling that takes longer than this is logged.
WORTH_SAYING = 2.0

#: The shapes whose kernels ``rehearse`` has compiled in this process.
_REHEARSED: set[tuple[Any, ...]] = set()


@dataclass(frozen=True)
class StepSettings:
    """How a step is computed.

    ``micro_batch``     samples per forward pass; None: ``positions`` decides.
    ``grad_clip_norm``  the largest norm of a replica's whole gradient; None: do not clip.
    ``precision``       fp32, tf32 or bf16.
    ``graphs``          whether steps are captured in CUDA graphs, on devices that can.
    ``positions``       positions per forward pass, as in ``micro_batch_sizes``; None: the whole batch.
    ``loss``            the loss of each sample.
    """

    grad_clip_norm: float | None
    micro_batch: int | None
    precision: str = "fp32"
    graphs: bool = True
    positions: int | None = None
    loss: SampleLoss = cross_entropy


class _Graph(NamedTuple):
    """A captured step, and the rows (replica, batch) on which it is taken."""

    step: Captured
    rows: Tensor


class Stepper:
    """Trains ``replicas`` on batches of training rows of ``store``, one step at a time."""

    def __init__(self, replicas: Replicas, store: DeviceStore, settings: StepSettings) -> None:
        self.replicas, self.store, self.settings = replicas, store, settings
        self._weights = weights_of_layers(replicas.model)
        self._graphs: dict[tuple[int, ...], _Graph | None] = {}
        self._copies: list[Sharing] = []  # one for each thread that computes micro-batches
        self._captures = (
            settings.graphs
            and replicas.capturable
            and replicas.device.type == "cuda"
            and not store.mapped
            and settings.micro_batch is None
            and settings.positions is None
        )

    def rehearse(self, batch_size: int) -> None:
        """Compiles, in parallel, the kernels that evaluations and steps on batches of this size need.

        It executes a step and an evaluation without running any kernel, so weights and states do not change.
        """
        device = self.replicas.device
        if device.type != "cuda" or triton_obstacle(device, torch.float32) is not None or interpreting():
            return  # without Triton there is nothing to compile, and its interpreter would run the kernels
        if not getattr(self.replicas.model, "capturable", True):
            return  # it may do anything in a forward pass, such as counting batches
        rows = self.store.rows("train")[:batch_size][: self.settings.micro_batch].expand(len(self.replicas), -1)
        if (shapes := self._shapes(rows.shape[1])) in _REHEARSED:
            return
        _REHEARSED.add(shapes)
        with requests_only() as asked:
            for length in {min(length, self.store.schema.length) for length in LENGTHS}:
                batch = self.store.gather("train", rows, length)
                self._dry_run(replace(batch, lengths=batch.lengths.clamp(max=length)))
        begun = time.perf_counter()
        with working(f"compiling {len(asked)} kernels"):
            asked.compile(partial(make_current, device))
        if (seconds := time.perf_counter() - begun) > WORTH_SAYING:
            log.info("%d kernels were compiled in %.0f s; later runs find them on disk", len(asked), seconds)

    def _shapes(self, batch: int) -> tuple[Any, ...]:
        """Everything that the set of kernels depends on; it does not depend on the number of replicas."""
        parameters = {name: tuple(p.shape[1:]) for name, p in self.replicas.model.named_parameters()}
        how = (self.replicas.device, self.settings.precision, self.settings.grad_clip_norm is None, batch)
        return (type(self.replicas.model), *how, *parameters.items())

    def _dry_run(self, batch: Batch) -> None:
        """Executes an evaluation and a step; called where no kernel runs."""
        model = self.replicas.model
        model.eval()
        set_dropout(model, None, None)
        with torch.no_grad(), computing_in(self.settings.precision, self.replicas.device):
            model(batch)
        model.train()
        self.replicas.draw_dropout(0)
        self._backward(batch, batch.labels.shape[1])
        if self.replicas.capturable:  # otherwise PyTorch's own kernels would run and change the weights
            self.replicas.step(self.settings.grad_clip_norm)
        model.zero_grad(set_to_none=True)

    def step(self, chosen: Tensor, number: int, longest: int) -> tuple[Tensor, Tensor]:
        """Training step ``number`` on rows ``chosen`` (replica, batch), whose longest history is ``longest``.

        Returns each replica's mean loss (replica,) and its logits (replica, batch), both detached.
        """
        self.replicas.begin_step()
        if self.settings.micro_batch is not None or self.settings.positions is not None:
            return self._split(chosen, number)
        self.replicas.draw_dropout(number)
        if not self._captures:
            return self._whole(chosen, None)
        length = padded_length(longest, self.store.schema.length)
        key = (*chosen.shape, length)
        if not any(known[:2] == key[:2] for known in self._graphs):
            # The first batch of a size loads kernels and creates the optimizers' state. Other lengths need no others.
            self._graphs[key] = None
            return self._whole(chosen, length)
        graph = self._graphs.get(key) or self._captured(key, chosen)
        if graph is None:
            return self._whole(chosen, length)
        graph.rows.copy_(chosen)
        graph.step.graph.replay()
        return graph.step.loss.clone(), graph.step.logits.clone()

    def restart(self) -> None:
        """Drops all captured graphs and copies of the model, because replicas have left."""
        self._graphs.clear()
        self._copies.clear()

    def _whole(self, chosen: Tensor, length: int | None) -> tuple[Tensor, Tensor]:
        """A step with one forward pass over the whole batch; dropout is drawn already."""
        loss, logits = self._backward(self.store.gather("train", chosen, length), chosen.shape[1])
        self.replicas.step(self.settings.grad_clip_norm)
        return loss, logits

    def _split(self, chosen: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """A step in micro-batches of similar history lengths; the gradient is that of the whole batch."""
        order, micro_batches = self.micro_batches(chosen)
        workers = self._workers(micro_batches)
        if workers > 1:
            order, micro_batches = self.micro_batches(chosen, workers)
            parts = self._at_once(micro_batches, number, workers)
            self.replicas.step(self.settings.grad_clip_norm)
        else:
            largest = max(part.positions for part in micro_batches)
            with threads_for(largest * self._weights, self.replicas.device):
                parts = [self._one(part, number) for part in micro_batches]
                self.replicas.step(self.settings.grad_clip_norm)
        scores = torch.cat([logits for _, logits in parts], dim=1)
        return torch.stack([loss for loss, _ in parts]).sum(dim=0), torch.empty_like(scores).scatter_(1, order, scores)

    def micro_batches(self, chosen: Tensor, workers: int = 1) -> tuple[Tensor, list[MicroBatch]]:
        """The order that sorts rows ``chosen`` (replica, batch) by history length, and the micro-batches.

        ``workers``  how many of them are computed at once.
        """
        lengths, order = self.store.lengths("train")[chosen].sort(dim=1, stable=True)
        longest = lengths.amax(dim=0).tolist()
        parts = chosen.gather(1, order).split(self._micro_batch_sizes(longest, workers), dim=1)
        ends = list(accumulate(part.shape[1] for part in parts))
        begins = (end - part.shape[1] for part, end in zip(parts, ends, strict=True))
        size = chosen.shape[1]
        return order, [
            MicroBatch(part, longest[end - 1], begin, size)
            for part, begin, end in zip(parts, begins, ends, strict=True)
        ]

    def _micro_batch_sizes(self, longest: list[int], workers: int) -> list[int]:
        """Samples of each micro-batch of a batch sorted by history length; ``longest`` (sample,) over all replicas."""
        if self.settings.micro_batch is not None:
            return [len(part) for part in torch.tensor(longest).split(self.settings.micro_batch)]
        if self.settings.positions is None or not self.replicas.separable:
            return [len(longest)]
        weight = position_weight(self.replicas.model, len(self.replicas))
        if workers > 1:
            return sizes_for_workers(longest, weight, self.settings.positions, workers)
        return micro_batch_sizes(longest, weight, self.settings.positions)

    def _workers(self, micro_batches: Sequence[MicroBatch]) -> int:
        """How many micro-batches are computed at once. With ``micro_batch`` one: who sets it is short of memory."""
        sizes = [part.positions * self._weights for part in micro_batches]
        if max(sizes) < WORTH_THREADS or self.settings.micro_batch is not None:
            return 1
        if not self.replicas.separable or not self.replicas.thread_safe:
            return 1
        return workers_for(sum(sizes), self.replicas.device)

    def _at_once(self, micro_batches: Sequence[MicroBatch], number: int, workers: int) -> list[tuple[Tensor, Tensor]]:
        """Adds the gradients of micro-batches, several computed at once; the loss and the logits of each."""
        self.replicas.draw_dropout(number)
        while len(self._copies) < workers:
            self._copies.append(Sharing(self.replicas.model))
        for sharing in self._copies:
            sharing.model.train(self.replicas.model.training)
        parameters = [parameter for parameter in self.replicas.model.parameters() if parameter.requires_grad]
        total, parts = GradientSum(parameters), [(torch.empty(0), torch.empty(0))] * len(micro_batches)
        largest_first = sorted(range(len(micro_batches)), key=lambda n: -micro_batches[n].positions)

        def compute(worker: int, turn: int) -> None:
            part, sharing = micro_batches[largest_first[turn]], self._copies[worker]
            self.replicas.mask_from(part.first, sharing.model)
            objective, loss, logits = self._objective(sharing.model, self._gathered(part), part.of)
            gradients = torch.autograd.grad(objective, parameters, allow_unused=True)
            parts[largest_first[turn]] = loss, logits
            total.add(turn, gradients, sharing.take_lookups())

        at_once(compute, len(micro_batches), workers)
        return parts

    def _one(self, part: MicroBatch, number: int) -> tuple[Tensor, Tensor]:
        """Adds the gradient of a micro-batch of step ``number``; its loss and logits."""
        self.replicas.draw_dropout(number, part.first)
        return self._backward(self._gathered(part), part.of)

    def _gathered(self, part: MicroBatch) -> Batch:
        return self.store.gather("train", part.rows, part.longest)

    def _backward(self, batch: Batch, size: int) -> tuple[Tensor, Tensor]:
        """Adds the gradient of ``batch``, part of a batch of ``size``. Returns its share of the loss, and logits."""
        objective, loss, logits = self._objective(self.replicas.model, batch, size)
        objective.backward()
        return loss, logits

    def _objective(self, model: nn.Module, batch: Batch, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """What is differentiated for ``batch``, part of a batch of ``size``; its share of the loss, and logits."""
        with computing_in(self.settings.precision, self.replicas.device):
            output = model(batch)
        loss_of_logits = self._batch_loss(batch.labels, size)
        loss = loss_of_logits(output.logits)
        objective = (loss + branch_losses(output.branches, loss, loss_of_logits)).sum()
        return objective, loss.detach(), output.logits.detach()

    def _batch_loss(self, labels: Tensor, size: int) -> BatchLoss:
        """The loss for ``labels`` (replica, batch), part of a batch of ``size``."""
        smoothing, gamma, weight = (
            self.replicas.column(name).unsqueeze(1) for name in ("label_smoothing", "focal_gamma", "positive_weight")
        )
        weighted = any(h.positive_weight != 1 for h in self.replicas.hyperparameters)
        return BatchLoss(self.settings.loss, labels, smoothing, gamma, weight if weighted else None, size)

    def _captured(self, key: tuple[int, ...], chosen: Tensor) -> _Graph | None:
        """Captures a step on batches of this shape in a CUDA graph; None if that fails.

        The longest histories are captured first: all graphs share their memory, and the others fit into it.
        """
        if not any(self._graphs.values()):
            limit = self.store.schema.length
            longest = padded_length(int(self.store.lengths("train").max()), limit)
            self._capture((*key[:-1], longest), chosen)
        return self._graphs.get(key) or self._capture(key, chosen)

    def _capture(self, key: tuple[int, ...], chosen: Tensor) -> _Graph | None:
        """Captures a step on batches of this shape; None if that fails, and if it has failed before.

        Where no step of this shape has run, the next one tries again. Otherwise none is captured any more. If memory
        does not suffice, the error is raised where fewer replicas may do.
        """
        if not self._captures:
            return None
        rows = chosen.clone()
        first = next((graph for graph in self._graphs.values() if graph), None)
        try:
            step = capture(lambda: self._whole(rows, key[-1]), first.step.graph.pool() if first else None)
        except RuntimeError as error:
            self.replicas.forget_reads()
            self.replicas.model.zero_grad(set_to_none=True)
            if is_out_of_memory(error) and len(self.replicas) > 1:
                raise
            if key in self._graphs:
                said = str(error).splitlines()[0]
                log.warning("steps are not captured in CUDA graphs, which costs time only: %s", said)
                self._captures = False
            self._graphs.setdefault(key, None)
            return None
        self._graphs[key] = graph = _Graph(step, rows)
        return graph


def padded_length(longest: int, limit: int) -> int:
    """The length to which a captured batch's histories are padded: at most a quarter above the longest."""
    step = 2 ** max(0, longest.bit_length() - 3)
    return min(limit, max(1, -(-longest // step) * step))


def longest_histories(lengths: Tensor, order: Tensor, batch_size: int) -> list[int]:
    """The longest history of each batch of an epoch; lengths (row,), order (replica, row)."""
    longest = lengths[order].amax(dim=0)
    return [int(part) for part in torch.stack([part.max() for part in longest.split(batch_size)]).cpu()]
