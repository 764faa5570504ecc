"""PyTorch's fused Adam without ``torch.optim``, whose first use imports ``torch._dynamo`` for a second or two."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class FusedAdam:
    """``torch.optim.Adam(..., fused=True)``, or AdamW where ``decoupled``: the same kernel, and states of its form.

    ``groups``  each with ``params``, all of one type on one device, and ``weight_decay``.
    ``lr``      with a tensor on the device a step can be captured in a CUDA graph, with a float it cannot.
    """

    def __init__(self, groups: Sequence[Mapping[str, Any]], lr: float | Tensor, decoupled: bool = False) -> None:
        options = {
            "lr": lr,
            "betas": BETAS,
            "eps": EPSILON,
            "amsgrad": False,
            "maximize": False,
            "foreach": None,
            "capturable": isinstance(lr, Tensor),
            "differentiable": False,
            "fused": True,
            "decoupled_weight_decay": decoupled,
        }
        self.param_groups: list[dict[str, Any]] = [{**group, **options} for group in groups]
        self.state: defaultdict[Tensor, dict[str, Tensor]] = defaultdict(dict)

    @torch.no_grad()
    def step(self) -> None:
        """One step of every parameter that has a gradient."""
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not moved:
                continue
            states = [self.state_of(parameter) for parameter in moved]
            steps = [state["step"] for state in states]
            torch._foreach_add_(steps, 1)
            kernel = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
            kernel(
                moved,
                [parameter.grad for parameter in moved],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                steps,
                amsgrad=False,
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                maximize=False,
            )

    @property
    def decoupled(self) -> bool:
        """Whether this is AdamW."""
        return bool(self.param_groups[0]["decoupled_weight_decay"])

    def state_dict(self) -> dict[str, Any]:
        """As ``torch.optim.Optimizer.state_dict``: parameters are numbered through the groups."""
        number = self._numbers()
        groups = [{**group, "params": [number[p] for p in group["params"]]} for group in self.param_groups]
        return {"state": {number[p]: state for p, state in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Takes up what ``state_dict`` said, on the parameters' device. ValueError if the groups are others."""
        sizes = [[len(group["params"]) for group in groups] for groups in (saved["param_groups"], self.param_groups)]
        if sizes[0] != sizes[1]:
            raise ValueError(f"the optimizer's state is of groups of {sizes[0]} parameters, expected {sizes[1]}")
        for group, theirs in zip(self.param_groups, saved["param_groups"], strict=True):
            group.update({name: value for name, value in theirs.items() if name != "params"})
        self.state.clear()
        for parameter, number in self._numbers().items():
            for name, value in saved["state"].get(number, {}).items():
                dtype = torch.float32 if name == "step" else parameter.dtype
                self.state[parameter][name] = value.to(parameter.device, dtype)

    def state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        """The number of its last step and its moments, that of a parameter before its first step too."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state

    def _numbers(self) -> dict[Tensor, int]:
        return {p: number for number, p in enumerate(p for group in self.param_groups for p in group["params"])}
