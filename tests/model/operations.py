"""The operations along time, as the tests of their backends use them: inputs, runs, exact results."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mdaf.model.ops.causal_conv import causal_conv
from mdaf.model.scan import last_output, selective_scan
from tests.model.backends import device_of, value_and_gradients

Inputs = dict[str, Any]  # tensors; None for an optional input that is missing


class Operation(NamedTuple):
    """An operation with several backends.

    ``function``  the operation; it takes ``backend``.
    ``exact``     the same by plain operations.
    ``inputs``    makes its inputs from (replica, batch, length, channel) and ``lengths``.
    ``timed``     the inputs that have a time axis.
    ``low``       the inputs that may be bfloat16.
    """

    function: Callable[..., Tensor]
    exact: Callable[..., Tensor]
    inputs: Callable[..., Inputs]
    timed: tuple[str, ...]
    low: tuple[str, ...]

    def value(self, backend: str, inputs: Inputs) -> Tensor:
        """The result alone."""
        with torch.no_grad():
            return self.function(**on(device_of(backend), inputs), backend=backend)

    def run(self, backend: str, inputs: Inputs) -> dict[str, Tensor]:
        """The result, and the gradients of all inputs."""
        return value_and_gradients(partial(self.function, backend=backend), on(device_of(backend), inputs))

    def expected(self, inputs: Inputs) -> dict[str, Tensor]:
        """The exact result and gradients, in float64."""
        wide = {name: a.double() if a is not None and a.is_floating_point() else a for name, a in inputs.items()}
        return value_and_gradients(self.exact, wide)


def on(device: torch.device, inputs: Inputs) -> Inputs:
    """The inputs on a device."""
    return {name: None if a is None else a.to(device) for name, a in inputs.items()}


def scan_inputs(
    replica: int = 1,
    batch: int = 2,
    length: int = 5,
    channel: int = 8,
    state: int = 8,
    *,
    gated: bool = True,
    biased: bool = True,
    lengths: list[list[int]] | None = None,
) -> Inputs:
    generator = torch.Generator().manual_seed(0)
    normal = partial(torch.randn, generator=generator)
    return {
        "x": normal(replica, batch, length, channel),
        "delta": normal(replica, batch, length, channel),
        "A": -4 * torch.rand(replica, channel, state, generator=generator) - 0.02,
        "B": normal(replica, batch, length, state),
        "C": normal(replica, batch, length, state),
        "D": normal(replica, channel),
        "z": normal(replica, batch, length, channel) if gated else None,
        "lengths": None if lengths is None else torch.tensor(lengths),
        "delta_bias": normal(replica, channel) if biased else None,
    }


def last_inputs(*shape: int, biased: bool = True, lengths: list[list[int]] | None = None) -> Inputs:
    inputs = scan_inputs(*shape, gated=False, biased=biased, lengths=lengths)
    del inputs["z"]
    inputs["C"] = inputs["C"][:, :, 0].clone()
    return inputs


def conv_inputs(
    replica: int = 1,
    batch: int = 2,
    length: int = 6,
    channel: int = 8,
    *,
    width: int = 4,
    lengths: list[list[int]] | None = None,
) -> Inputs:
    normal = partial(torch.randn, generator=torch.Generator().manual_seed(1))
    return {
        "x": normal(replica, batch, length, channel),
        "weight": normal(replica, channel, width),
        "bias": normal(replica, channel),
        "lengths": None if lengths is None else torch.tensor(lengths),
    }


def _last_of_whole_scan(C: Tensor, lengths: Tensor | None = None, **others: Tensor | None) -> Tensor:
    """Each row's last valid output of the whole scan."""
    x = others["x"]
    assert x is not None
    wide = C.unsqueeze(2).expand(-1, -1, x.shape[2], -1)
    y = selective_scan(C=wide, lengths=lengths, **others, backend="reference")  # type: ignore[arg-type]
    ends = torch.full(x.shape[:2], x.shape[2]) if lengths is None else lengths
    return y.take_along_dim((ends - 1).clamp(min=0)[..., None, None], dim=2).squeeze(2)


SCAN = Operation(
    selective_scan,
    partial(selective_scan, backend="reference"),
    scan_inputs,
    timed=("x", "delta", "B", "C", "z"),
    low=("x", "delta", "B", "C", "z"),
)
LAST_OUTPUT = Operation(
    last_output, _last_of_whole_scan, last_inputs, timed=("x", "delta", "B"), low=("x", "delta", "B", "C")
)
CONVOLUTION = Operation(causal_conv, partial(causal_conv, backend="reference"), conv_inputs, timed=("x",), low=("x",))
