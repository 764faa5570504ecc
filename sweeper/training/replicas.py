"""K models of one shape trained in lock-step, each with hyperparameters and random streams of its own.

A single run is K = 1. What may differ between replicas is exactly ``Hyperparameters``: none of it changes a shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from mdaf.model.layers.basic import Embedding, dropout_keys, set_dropout
from mdaf.model.stack import keep, stack
from mdaf.streams import stream_seed
from mdaf.sweeper.machine.device import put
from mdaf.sweeper.training.initialization import all_initialized, initialized
from mdaf.sweeper.training.optim.deferred_adam import DeferredAdam, can_defer
from mdaf.sweeper.training.optim.fused_adam import FusedAdam
from mdaf.sweeper.training.optim.joint_adam import Together, can_step_together
from mdaf.sweeper.training.optim.lazy_adam import LazyAdam


@dataclass(frozen=True)
class Hyperparameters:
    """What one replica has for itself.

    ``embedding_l2``       weight decay of embedding tables on top of ``weight_decay``.
    ``reinit_embeddings``  whether tables are drawn anew at each epoch but the first.
    """

    seed: int
    dropout: float
    weight_decay: float
    label_smoothing: float
    learning_rate: float
    embedding_l2: float = 0.0
    reinit_embeddings: bool = False


#: Where in a job's config each of the hyperparameters stands. Jobs that differ elsewhere cannot train in lock-step.
REPLICA_KEYS = {
    "seed": "seed",
    "dropout": "regularization.dropout",
    "weight_decay": "regularization.weight_decay",
    "label_smoothing": "regularization.label_smoothing",
    "learning_rate": "training.learning_rate",
    "embedding_l2": "regularization.embedding_l2",
    "reinit_embeddings": "regularization.reinit_embeddings",
}


#: The fewest rows of a table on which full steps are put off until a row is read: below it a batch reads most of them.
DEFERRED_ROWS = 8192


@dataclass(frozen=True)
class Update:
    """How gradients move weights.

    ``decay``   weight decay is L2 in Adam's gradient (coupled) or AdamW's (decoupled).
    ``tables``  a step moves every row of an embedding table (full) or those it touched (lazy).
    """

    decay: Literal["coupled", "decoupled"] = "coupled"
    tables: Literal["full", "lazy"] = "full"


class Trained(Protocol):
    """What evaluation and checkpoints need of a model of one or several replicas, whatever trained it."""

    model: nn.Module
    hyperparameters: list[Hyperparameters]
    device: torch.device

    def __len__(self) -> int: ...

    def optimizer_state(self, k: int) -> list[dict[str, Any]]:
        """What the optimizers of replica ``k`` remember."""
        ...


class Replicas:
    """The stacked model, and an ordinary Adam for each replica over views of its slice of the stack.

    So a replica's update, its state and its checkpoint are those of its solo run, by construction.
    """

    def __init__(
        self,
        build_model: Callable[[], nn.Module],
        hyperparameters: Sequence[Hyperparameters],
        update: Update,
        device: torch.device,
    ) -> None:
        self._build_model, self._update = build_model, update
        self.hyperparameters = list(hyperparameters)
        self.numbers = list(range(len(self.hyperparameters)))
        self.device = device
        self.model = stack(all_initialized(build_model, [h.seed for h in self.hyperparameters]), device)
        self._deferred = self._deferring()
        self._names = _names_by_group(self.model, set(self._deferred.tables if self._deferred else ()))
        self._columns: dict[str, Tensor] = {}
        self._dropout_keys = torch.empty(0)
        self._factor = 1.0
        self._rates = torch.tensor([h.learning_rate for h in self.hyperparameters], device=device)
        self.optimizers = [self._optimizers(k) for k in range(len(self))]
        self._together = self._joined()

    def __len__(self) -> int:
        return len(self.numbers)

    def column(self, name: str) -> Tensor:
        """One hyperparameter of every replica, (replica,) float32 on the device."""
        if name not in self._columns:
            self._columns[name] = torch.tensor([getattr(h, name) for h in self.hyperparameters], device=self.device)
        return self._columns[name]

    def draw_dropout(self, step: int, first: int = 0) -> None:
        """Sets the dropout masks of a forward pass of training step ``step`` on its batch's rows from ``first`` on."""
        seeds = [stream_seed(h.seed, "dropout", step, 0) >> 1 for h in self.hyperparameters]
        keys = dropout_keys(self.model, seeds)
        if self._dropout_keys.shape != keys.shape:
            self._dropout_keys = keys.to(self.device)
        else:  # in place: a captured step reads them here
            put(keys, self._dropout_keys)
        set_dropout(self.model, self.column("dropout"), self._dropout_keys, first)

    def set_learning_rate(self, factor: float) -> None:
        """Multiplies every replica's own learning rate by ``factor`` for the next steps."""
        self._factor = factor

    def begin_step(self) -> None:
        """Before the first forward pass of a training step, outside of what is captured."""
        rates = [h.learning_rate * self._factor for h in self.hyperparameters]
        if self.device.type == "cuda":  # in place: a captured step reads them there
            put(torch.tensor(rates), self._rates)
        else:
            for k, rate in enumerate(rates):
                for group in self._groups(k):
                    group["lr"] = rate
        if self._deferred is not None:
            self._deferred.begin_step(rates)

    def step(self, clip_norm: float | None) -> None:
        """One optimizer step of every replica from its gradients, clipped by its own norm, then cleared."""
        squares = self._deferred.square_norms() if self._deferred is not None and clip_norm is not None else None
        if self._together is not None:
            clip = self._together.step(self._parameters(), self._rates, clip_norm, squares)
        else:
            clip = self._step_each(clip_norm, squares)
        if self._deferred is not None:
            self._deferred.step(clip)
        self.model.zero_grad(set_to_none=True)

    def _step_each(self, clip_norm: float | None, squares: Tensor | None) -> Tensor:
        """One replica after the other; what each one's gradient was multiplied by, (replica,)."""
        clips = []
        for k, optimizers in enumerate(self.optimizers):
            views = [view for group in self._groups(k) for view in group["params"]]
            for view, parameter in zip(views, self._parameters(), strict=True):
                view.grad = parameter.grad[k] if parameter.grad is not None else None
            if clip_norm is not None:
                clips.append(_clip(views, clip_norm, None if squares is None else squares[k]))
            for optimizer in optimizers:
                optimizer.step()
            for view in views:
                view.grad = None
        return torch.stack(clips) if clips else torch.ones(len(self), device=self.device)

    def settle(self) -> None:
        """Brings every weight up to date: before anything but a training step reads them."""
        if self._deferred is not None:
            self._deferred.settle()

    def begin_epoch(self, epoch: int) -> None:
        """Draws the tables of those replicas anew that want it at each epoch but the first, and forgets their moments.

        MEDA (arXiv 2305.19531): what overfits after one epoch are the embeddings; the layers keep what they learnt.
        """
        for k, h in enumerate(self.hyperparameters):
            if not h.reinit_embeddings or epoch == 1:
                continue
            fresh = dict(initialized(self._build_model, h.seed, epoch).named_parameters())
            named = dict(self.model.named_parameters())
            if self._deferred is not None:
                self._deferred.restart(k)
            for name in (*self._names[0], *(self._deferred.tables if self._deferred else ())):
                named[name].data[k].copy_(fresh[name].detach()[0])
            tables, optimizer = self._groups(k)[0]["params"], self.optimizers[k][0]
            for moment in (moment for table in tables for moment in optimizer.state[table].values()):
                moment.zero_()

    def leave(self, numbers: Sequence[int]) -> None:
        """Takes replicas out of the stack by number; the rest go on unchanged."""
        staying = [k for k, number in enumerate(self.numbers) if number not in numbers]
        self.settle()
        keep(self.model, staying)
        for name in ("numbers", "hyperparameters", "optimizers"):
            setattr(self, name, [getattr(self, name)[k] for k in staying])
        self._columns.clear()
        self._rates = self._rates[staying]
        if self._deferred is not None:
            self._deferred.keep(staying)
        for k, optimizers in enumerate(self.optimizers):
            views = iter(self._views(k))
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    moved = next(views)
                    for old, new in zip(group["params"], moved, strict=True):
                        if old in optimizer.state:
                            optimizer.state[new] = optimizer.state.pop(old)
                    group["params"] = moved
            self._share_rates(k)
        self._together = self._joined()

    def optimizer_state(self, k: int) -> list[dict[str, Any]]:
        """The states of replica k's optimizers, as its solo run would save them."""
        states = [optimizer.state_dict() for optimizer in self.optimizers[k]]
        for state in states:
            for group in state["param_groups"]:
                group["lr"] = float(group["lr"])
        if self._deferred is not None:
            states.append(self._deferred.state(k))
        return states

    def load_optimizer_state(self, k: int, states: Sequence[Mapping[str, Any]]) -> None:
        """Gives replica k's optimizers states of ``optimizer_state``, from whatever device.

        Only what they have gathered is taken; rates and options stay those of this replica. ValueError if it does not
        fit.
        """
        ordinary = list(states)
        if self._deferred is not None:
            self._deferred.load_state(k, ordinary.pop())
        for optimizer, state in zip(self.optimizers[k], ordinary, strict=True):
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state["state"]})
        self._share_rates(k)
        self._together = self._joined()

    @property
    def separable(self) -> bool:
        """Whether the loss of a batch is a sum over its samples, so that it can be computed in pieces."""
        return bool(getattr(self.model, "separable", True))

    @property
    def capturable(self) -> bool:
        """Whether a step never waits for the host, so that it can be captured in a CUDA graph."""
        return self._update.tables == "full"

    def _share_rates(self, k: int) -> None:
        """Points replica k's optimizers at where ``begin_step`` writes its rate, where that is on the device."""
        for group in self._groups(k):
            if isinstance(group["lr"], Tensor):
                group["lr"] = self._rates[k]

    def _groups(self, k: int) -> list[dict[str, Any]]:
        """Replica k's parameter groups: tables, what weight decay acts on besides, and what it leaves alone."""
        return [group for optimizer in self.optimizers[k] for group in optimizer.param_groups]

    def _parameters(self) -> list[nn.Parameter]:
        """The stacked parameters in the order of the groups."""
        named = dict(self.model.named_parameters())
        return [named[name] for names in self._names for name in names]

    def _views(self, k: int) -> list[list[Tensor]]:
        """Replica k's slices of the parameters, by group."""
        named = dict(self.model.named_parameters())
        return [[named[name].detach()[k] for name in names] for names in self._names]

    def _optimizers(self, k: int) -> list[FusedAdam | LazyAdam]:
        h, decoupled = self.hyperparameters[k], self._update.decay == "decoupled"
        decays = (h.weight_decay + h.embedding_l2, h.weight_decay, 0.0)
        tables, *rest = [
            {"params": views, "weight_decay": decay} for views, decay in zip(self._views(k), decays, strict=True)
        ]
        lazy = self._update.tables == "lazy"
        groups = rest if lazy else [tables, *rest]
        # With the learning rate on the device a step can be captured in a CUDA graph.
        lr = self._rates[k] if self.device.type == "cuda" else h.learning_rate
        dense = FusedAdam(groups, lr, decoupled)
        return [LazyAdam([tables], lr=h.learning_rate, decoupled=decoupled), dense] if lazy else [dense]

    def _joined(self) -> Together | None:
        """All replicas' optimizers as one, where that can be; anew whenever their states have moved."""
        if self._update.tables == "lazy" or not can_step_together(self.device):
            return None
        return Together([o for optimizers in self.optimizers for o in optimizers if isinstance(o, FusedAdam)])

    def _deferring(self) -> DeferredAdam | None:
        """The optimizer of the tables whose steps are put off."""
        update, hyperparameters = self._update, self.hyperparameters
        if update.tables != "full" or not can_defer(self.device):
            return None
        large = {
            f"{prefix}.weight": module
            for prefix, module in self.model.named_modules()
            if isinstance(module, Embedding) and module.weight.shape[1] >= DEFERRED_ROWS
        }
        decays = [h.weight_decay + h.embedding_l2 for h in hyperparameters]
        return DeferredAdam(large, decays, update.decay == "decoupled", self.device) if large else None


def _clip(views: Sequence[Tensor], clip_norm: float, elsewhere: Tensor | None) -> Tensor:
    """Scales the gradients of ``views`` so that the norm of the whole gradient is at most ``clip_norm``; by how much.

    ``elsewhere`` is the squared norm of what of the gradient lies elsewhere.
    """
    gradients = [view.grad for view in views if view.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if elsewhere is not None:
        norm = (norm.square() + elsewhere).sqrt()
    nn.utils.clip_grads_with_norm_(views, clip_norm, norm)
    return (clip_norm / (norm + 1e-6)).clamp(max=1.0)


def _names_by_group(model: nn.Module, apart: Set[str]) -> list[list[str]]:
    """Names of the parameters but ``apart``: tables, what weight decay acts on besides, and what it leaves alone."""
    tables, undecayed = set(), set()
    for prefix, module in model.named_modules():
        if isinstance(module, Embedding):
            tables.add(f"{prefix}.weight")
        if hasattr(module, "undecayed"):
            exempt = {id(parameter) for parameter in module.undecayed()}
            undecayed |= {f"{prefix}.{name}" for name, p in module.named_parameters(recurse=False) if id(p) in exempt}
    names = [name for name, _ in model.named_parameters() if name not in apart]
    rest = [name for name in names if name not in tables | undecayed]
    return [[n for n in names if n in tables], rest, [n for n in names if n in undecayed]]
