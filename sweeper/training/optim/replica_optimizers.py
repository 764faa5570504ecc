"""The optimizers of K replicas: an ordinary Adam for each replica, over views of its slice of the stacked model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mdaf.model.layers.basic import Embedding
from mdaf.sweeper.machine.device import put
from mdaf.sweeper.training.optim.deferred_adam import DeferredAdam, can_defer
from mdaf.sweeper.training.optim.fused_adam import FusedAdam
from mdaf.sweeper.training.optim.joint_adam import JointAdam, can_step_jointly
from mdaf.sweeper.training.optim.lazy_adam import LazyAdam

#: Embedding tables with at least this many rows use ``DeferredAdam``. A batch reads most rows of a smaller table, so
#: deferring the steps of its rows saves nothing.
DEFERRED_ROWS = 8192


@dataclass(frozen=True)
class Update:
    """How gradients change the weights.

    ``decay``   weight decay is L2 in Adam's gradient (coupled) or AdamW's (decoupled).
    ``tables``  a step updates every row of an embedding table (full) or only the rows that the batch read (lazy).
    """

    decay: Literal["coupled", "decoupled"] = "coupled"
    tables: Literal["full", "lazy"] = "full"


@dataclass(frozen=True)
class OptimizerSettings:
    """The optimizer settings of one replica; ``table_decay`` is the weight decay of its embedding tables."""

    learning_rate: float
    weight_decay: float
    table_decay: float


class ReplicaOptimizers:
    """The optimizers of the stacked ``model``, one set for each replica.

    Each replica's updates and optimizer state equal those of a run that trains it alone.
    """

    def __init__(
        self, model: nn.Module, settings: Sequence[OptimizerSettings], update: Update, device: torch.device
    ) -> None:
        self._model, self._settings, self._update, self._device = model, list(settings), update, device
        self._deferred = self._deferred_adam()
        self._names = _names_by_group(model, set(self._deferred.tables if self._deferred else ()))
        self._rates = torch.tensor([s.learning_rate for s in self._settings], device=device)
        self._optimizers = [self._optimizers_of(k) for k in range(len(self._settings))]
        self._joint = self._joint_adam()

    @property
    def capturable(self) -> bool:
        """Whether a step never waits for the host, so that a CUDA graph can capture it."""
        return self._update.tables == "full"

    @property
    def tables(self) -> list[str]:
        """Parameter names of the embedding tables."""
        return [*self._names[0], *(self._deferred.tables if self._deferred else ())]

    @property
    def dense_numbers(self) -> int:
        """The numbers in a gradient of all replicas, without those of deferred tables."""
        return sum(parameter.numel() for parameter in self._parameters())

    def begin_step(self, factors: Sequence[float]) -> None:
        """Sets the learning rates of the next step: each replica's own, times its factor. A graph does not capture it.

        Call it before the first forward pass of the step, since lookups in deferred tables need the rates.
        """
        rates = [s.learning_rate * factor for s, factor in zip(self._settings, factors, strict=True)]
        if self._device.type == "cuda":  # in place: a captured step reads them there
            put(torch.tensor(rates), self._rates)
        else:
            for k, rate in enumerate(rates):
                for group in self._groups(k):
                    group["lr"] = rate
        if self._deferred is not None:
            self._deferred.begin_step(rates)

    def step(self, clip_norm: float | None) -> None:
        """Steps every replica on its gradients, each clipped by its own norm."""
        squares = self._deferred.square_norms() if self._deferred is not None and clip_norm is not None else None
        if self._joint is not None:
            clip = self._joint.step(self._parameters(), self._rates, clip_norm, squares)
        else:
            clip = self._step_each(clip_norm, squares)
        if self._deferred is not None:
            self._deferred.step(clip)

    def forget_reads(self) -> None:
        """Takes back what lookups of this step have read, because the step is taken anew."""
        if self._deferred is not None:
            self._deferred.forget_reads()

    def settle(self) -> None:
        """Applies all deferred steps. Call it before anything but a training step reads the weights."""
        if self._deferred is not None:
            self._deferred.settle()

    def restart_tables(self, k: int) -> None:
        """Zeroes the moments of replica k's embedding tables, because the tables are drawn again."""
        if self._deferred is not None:
            self._deferred.restart(k)
        tables, optimizer = self._groups(k)[0]["params"], self._optimizers[k][0]
        for moment in (moment for table in tables for moment in optimizer.state[table].values()):
            moment.zero_()

    def keep(self, replicas: Sequence[int]) -> None:
        """Drops all replicas but these. Settle first, then reduce the model to them, then call this."""
        self._settings = [self._settings[k] for k in replicas]
        self._optimizers = [self._optimizers[k] for k in replicas]
        self._rates = self._rates[replicas]
        if self._deferred is not None:
            self._deferred.keep(replicas)
        for k, optimizers in enumerate(self._optimizers):
            views = iter(self._views(k))
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    moved = next(views)
                    for old, new in zip(group["params"], moved, strict=True):
                        if old in optimizer.state:
                            optimizer.state[new] = optimizer.state.pop(old)
                    group["params"] = moved
            self._share_rates(k)
        self._joint = self._joint_adam()

    def state(self, k: int) -> list[dict[str, Any]]:
        """The states of replica k's optimizers, as a run that trains it alone would save them."""
        states = [optimizer.state_dict() for optimizer in self._optimizers[k]]
        for state in states:
            for group in state["param_groups"]:
                group["lr"] = float(group["lr"])
        if self._deferred is not None:
            states.append(self._deferred.state(k))
        return states

    def load_state(self, k: int, states: Sequence[Mapping[str, Any]]) -> None:
        """Loads the result of ``state`` into replica k's optimizers. ValueError if it does not fit.

        Only step counts and moments are loaded, from whatever device; learning rates and options stay this replica's.
        """
        ordinary = list(states)
        if self._deferred is not None:
            self._deferred.load_state(k, ordinary.pop())
        for optimizer, state in zip(self._optimizers[k], ordinary, strict=True):
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state["state"]})
        self._share_rates(k)
        self._joint = self._joint_adam()

    def _step_each(self, clip_norm: float | None, squares: Tensor | None) -> Tensor:
        """Steps one replica after the other; returns the factor that scaled each one's gradient, (replica,)."""
        clips = []
        for k, optimizers in enumerate(self._optimizers):
            views = [view for group in self._groups(k) for view in group["params"]]
            for view, parameter in zip(views, self._parameters(), strict=True):
                view.grad = parameter.grad[k] if parameter.grad is not None else None
            if clip_norm is not None:
                clips.append(_clip(views, clip_norm, None if squares is None else squares[k]))
            for optimizer in optimizers:
                optimizer.step()
            for view in views:
                view.grad = None
        return torch.stack(clips) if clips else torch.ones(len(self._settings), device=self._device)

    def _share_rates(self, k: int) -> None:
        """Points replica k's optimizers at the device tensor that ``begin_step`` writes, if there is one."""
        for group in self._groups(k):
            if isinstance(group["lr"], Tensor):
                group["lr"] = self._rates[k]

    def _groups(self, k: int) -> list[dict[str, Any]]:
        """Replica k's parameter groups: embedding tables, other parameters with weight decay, those without."""
        return [group for optimizer in self._optimizers[k] for group in optimizer.param_groups]

    def _parameters(self) -> list[nn.Parameter]:
        """The stacked parameters in the order of the groups."""
        named = dict(self._model.named_parameters())
        return [named[name] for names in self._names for name in names]

    def _views(self, k: int) -> list[list[Tensor]]:
        """Replica k's slices of the parameters, by group."""
        named = dict(self._model.named_parameters())
        return [[named[name].detach()[k] for name in names] for names in self._names]

    def _optimizers_of(self, k: int) -> list[FusedAdam | LazyAdam]:
        settings, decoupled = self._settings[k], self._update.decay == "decoupled"
        decays = (settings.table_decay, settings.weight_decay, 0.0)
        tables, *rest = [
            {"params": views, "weight_decay": decay} for views, decay in zip(self._views(k), decays, strict=True)
        ]
        lazy = self._update.tables == "lazy"
        groups = rest if lazy else [tables, *rest]
        # A CUDA graph can capture a step only if the learning rate is a tensor on the device.
        lr = self._rates[k] if self._device.type == "cuda" else settings.learning_rate
        dense = FusedAdam(groups, lr, decoupled)
        return [LazyAdam([tables], lr=settings.learning_rate, decoupled=decoupled), dense] if lazy else [dense]

    def _joint_adam(self) -> JointAdam | None:
        """One optimizer that steps all replicas at once, where possible. Make a new one whenever states have moved."""
        if self._update.tables == "lazy" or not can_step_jointly(self._device):
            return None
        return JointAdam([o for optimizers in self._optimizers for o in optimizers if isinstance(o, FusedAdam)])

    def _deferred_adam(self) -> DeferredAdam | None:
        """The optimizer of the large embedding tables; None without such tables, or where it cannot run."""
        if self._update.tables != "full" or not can_defer(self._device):
            return None
        large = {
            f"{prefix}.weight": module
            for prefix, module in self._model.named_modules()
            if isinstance(module, Embedding) and module.weight.shape[1] >= DEFERRED_ROWS
        }
        decays = [settings.table_decay for settings in self._settings]
        return DeferredAdam(large, decays, self._update.decay == "decoupled", self._device) if large else None


def _clip(views: Sequence[Tensor], clip_norm: float, deferred: Tensor | None) -> Tensor:
    """Scales the gradients of ``views`` so that the norm of the whole gradient is at most ``clip_norm``.

    ``deferred`` is the squared norm of the deferred tables' gradient. Returns the factor.
    """
    gradients = [view.grad for view in views if view.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if deferred is not None:
        norm = (norm.square() + deferred).sqrt()
    nn.utils.clip_grads_with_norm_(views, clip_norm, norm)
    return (clip_norm / (norm + 1e-6)).clamp(max=1.0)


def _names_by_group(model: nn.Module, excluded: Set[str]) -> list[list[str]]:
    """Parameter names without ``excluded``: embedding tables, other parameters with weight decay, those without."""
    of_table, exempt = set(), set()
    for module in model.modules():
        if isinstance(module, Embedding | nn.Embedding | nn.EmbeddingBag):
            of_table.add(id(module.weight))
        undecayed = getattr(module, "undecayed", None)
        if callable(undecayed):
            exempt |= {id(parameter) for parameter in undecayed()}
    groups: list[list[str]] = [[], [], []]
    for name, parameter in model.named_parameters():
        if name not in excluded:
            groups[0 if id(parameter) in of_table else 2 if id(parameter) in exempt else 1].append(name)
    return groups
