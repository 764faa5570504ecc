"""Adam on the rows of a table that a step touched, and on no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class LazyAdam(torch.optim.Optimizer):
    """Adam (arXiv 1412.6980) for tables (row, dim) of which a step touches few rows.

    A row whose gradient is zero keeps its weights, its moments and its size: neither momentum nor weight decay moves
    it. Bias correction counts steps, not touches. On a device it waits for the host, so it cannot be captured in a
    CUDA graph. ``decoupled`` as in AdamW.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "decoupled": decoupled, "betas": betas, "eps": eps}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of every table that has a gradient; ``closure`` is not called."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._step_table(table, group, self.state[table])

    def _step_table(self, table: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(table)
            state["exp_avg_sq"] = torch.zeros_like(table)
        state["step"] += 1
        rows = table.grad.ne(0).any(dim=-1).nonzero().squeeze(-1)  # type: ignore[union-attr]
        step, lr, decay = state["step"], float(group["lr"]), group["weight_decay"]
        first, second = group["betas"]
        gradient, values = table.grad[rows], table[rows]  # type: ignore[index]
        if decay:
            if group["decoupled"]:
                values = values * (1 - lr * decay)
            else:
                gradient = gradient + decay * values
        mean = state["exp_avg"][rows].lerp_(gradient, 1 - first)
        square = state["exp_avg_sq"][rows].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        state["exp_avg"][rows], state["exp_avg_sq"][rows] = mean, square
        scale = square.sqrt().div_((1 - second**step) ** 0.5).add_(group["eps"])
        table[rows] = values.addcdiv_(mean, scale, value=-lr / (1 - first**step))
