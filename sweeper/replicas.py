"""K models of one shape trained in lock-step, each with hyperparameters and random streams of its own.

A single run is K = 1. What may differ between replicas is exactly ``Hyperparameters``: none of it changes a shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from data.streams import stream_seed
from model.layers import dropout_keys, set_dropout
from model.stack import keep, stack


@dataclass(frozen=True)
class Hyperparameters:
    """What one replica has for itself; ``weight_decay`` is L2 (coupled) or AdamW's (decoupled)."""

    seed: int
    dropout: float
    weight_decay: float
    label_smoothing: float
    learning_rate: float


class Replicas:
    """The stacked model, and an ordinary Adam for each replica over views of its slice of the stack.

    So a replica's update, its state and its checkpoint are those of its solo run, by construction.
    """

    def __init__(
        self,
        build_model: Callable[[], nn.Module],
        hyperparameters: Sequence[Hyperparameters],
        decay: Literal["coupled", "decoupled"],
        device: torch.device,
    ) -> None:
        self.hyperparameters = list(hyperparameters)
        self.numbers = list(range(len(self.hyperparameters)))
        self.device = device
        self.model = stack([_initialized(build_model, h.seed) for h in self.hyperparameters]).to(device)
        self._undecayed = _undecayed_names(self.model)
        self._columns: dict[str, Tensor] = {}
        self._dropout_keys = torch.empty(0)
        self.optimizers = [self._optimizer(k, decay) for k in range(len(self))]

    def __len__(self) -> int:
        return len(self.numbers)

    def column(self, name: str) -> Tensor:
        """One hyperparameter of every replica, (replica,) float32 on the device."""
        if name not in self._columns:
            self._columns[name] = torch.tensor([getattr(h, name) for h in self.hyperparameters], device=self.device)
        return self._columns[name]

    def draw_dropout(self, step: int, piece: int) -> None:
        """Sets the dropout masks of one forward pass: those of micro-batch ``piece`` of training step ``step``."""
        seeds = [stream_seed(h.seed, "dropout", step, piece) >> 1 for h in self.hyperparameters]
        keys = dropout_keys(self.model, seeds)
        if self._dropout_keys.shape != keys.shape:
            self._dropout_keys = keys.to(self.device)
        else:  # in place: a captured step reads them here
            self._dropout_keys.copy_(keys)
        set_dropout(self.model, self.column("dropout"), self._dropout_keys)

    def set_learning_rate(self, factor: float) -> None:
        """Multiplies every replica's own learning rate by ``factor`` for the next steps."""
        for optimizer, h in zip(self.optimizers, self.hyperparameters, strict=True):
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):  # in place: a captured step reads it there
                    group["lr"].fill_(h.learning_rate * factor)
                else:
                    group["lr"] = h.learning_rate * factor

    def step(self, clip_norm: float | None) -> None:
        """One optimizer step of every replica from its gradients, clipped by its own norm, then cleared."""
        for k, optimizer in enumerate(self.optimizers):
            views = [view for group in optimizer.param_groups for view in group["params"]]
            for view, parameter in zip(views, self._ordered_parameters(), strict=True):
                view.grad = parameter.grad[k] if parameter.grad is not None else None
            if clip_norm is not None:
                nn.utils.clip_grad_norm_(views, clip_norm)
            optimizer.step()
            for view in views:
                view.grad = None
        self.model.zero_grad(set_to_none=True)

    def leave(self, numbers: Sequence[int]) -> None:
        """Takes replicas out of the stack by number; the rest go on unchanged."""
        staying = [k for k, number in enumerate(self.numbers) if number not in numbers]
        old_optimizers, self.optimizers = self.optimizers, []
        keep(self.model, staying)
        for name in ("numbers", "hyperparameters"):
            setattr(self, name, [getattr(self, name)[k] for k in staying])
        self._columns.clear()
        for new, old in enumerate(staying):
            optimizer = old_optimizers[old]
            for group, views in zip(optimizer.param_groups, self._views(new), strict=True):
                for position, view in enumerate(views):
                    state = optimizer.state.pop(group["params"][position], None)
                    group["params"][position] = view
                    if state is not None:
                        optimizer.state[view] = state
            self.optimizers.append(optimizer)

    def optimizer_state(self, k: int) -> dict[str, Any]:
        """The state of replica k's optimizer, as its solo run would save it."""
        state = self.optimizers[k].state_dict()
        for group in state["param_groups"]:
            group["lr"] = float(group["lr"])
        return state

    def _ordered_parameters(self) -> list[nn.Parameter]:
        named = list(self.model.named_parameters())
        decayed = [p for name, p in named if name not in self._undecayed]
        return decayed + [p for name, p in named if name in self._undecayed]

    def _views(self, k: int) -> list[list[Tensor]]:
        """Replica k's slices of the parameters: the decayed ones and those that weight decay leaves alone."""
        parameters = [p.detach()[k] for p in self._ordered_parameters()]
        first_undecayed = len(parameters) - len(self._undecayed)
        return [parameters[:first_undecayed], parameters[first_undecayed:]]

    def _optimizer(self, k: int, decay: str) -> torch.optim.Optimizer:
        h = self.hyperparameters[k]
        decayed, undecayed = self._views(k)
        groups = [
            {"params": decayed, "weight_decay": h.weight_decay},
            {"params": undecayed, "weight_decay": 0.0},
        ]
        adam = torch.optim.Adam if decay == "coupled" else torch.optim.AdamW
        if self.device.type == "cuda":  # with the learning rate on the device a step can be captured in a CUDA graph
            lr = torch.tensor(h.learning_rate, device=self.device)
            return adam(groups, lr=lr, fused=True, capturable=True)
        return adam(groups, lr=h.learning_rate, fused=True)


def _initialized(build_model: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A model of one replica, initialized on the CPU from the stream "init" of its seed, whatever device trains it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "init"))
        return build_model()


def _undecayed_names(model: nn.Module) -> set[str]:
    found = set()
    for prefix, module in model.named_modules():
        if hasattr(module, "undecayed"):
            exempt = {id(parameter) for parameter in module.undecayed()}
            found |= {f"{prefix}.{name}" for name, p in module.named_parameters(recurse=False) if id(p) in exempt}
    return found
