"""Compiled kernels: where their arrays happen to lie in memory changes no bit of what they compute."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mdaf.model.kernels import activation_cpu, conv_cpu, cross_cpu, norm_cpu, threads
from mdaf.model.ops.causal_conv import causal_conv
from mdaf.model.ops.cross_layer import crossed
from mdaf.model.ops.layer_norm import activated, normed_sum
from mdaf.model.scan import cpu, last_cpu, last_output, selective_scan
from tests.model.backends import value_and_gradients

CHANNELS = 16  # of a narrow model: a tensor of them may end a few bytes before the next
NARROW = 1024  # bytes; behind a longer one nothing lies near
FAR = 4096
LENGTHS = torch.tensor([[3, 1, 4]])


def drawn(*shape: int) -> Tensor:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(len(shape)))


SEQUENCE = {name: drawn(3, 4, CHANNELS) for name in ("x", "delta")} | {"D": drawn(CHANNELS)}
SEQUENCE |= {"A": -drawn(CHANNELS, 4).exp(), "B": drawn(3, 4, 4)}
TOKENS = {"x": drawn(5, 1, CHANNELS), "bias": drawn(CHANNELS)}
LAYER = TOKENS | {"gain": drawn(CHANNELS), "shift": drawn(CHANNELS), "residual": drawn(5, 1, CHANNELS)}
CROSS = {"h": drawn(5, CHANNELS), "x": drawn(5, 2 * CHANNELS), "base": drawn(5, 2 * CHANNELS)}
CROSS |= {"gain": drawn(CHANNELS), "shift": drawn(CHANNELS), "bias": drawn(2 * CHANNELS)}
OPERATIONS: dict[str, tuple[Any, Callable[..., Tensor], dict[str, Tensor]]] = {
    "normed sum": (norm_cpu, partial(normed_sum, eps=1e-5), LAYER),
    "activation": (activation_cpu, partial(activated, activation="gelu"), TOKENS),
    "cross layer": (cross_cpu, partial(crossed, eps=1e-5), CROSS),
    "convolution": (
        conv_cpu,
        partial(causal_conv, lengths=LENGTHS),
        {"x": drawn(3, 4, CHANNELS), "weight": drawn(CHANNELS, 4), "bias": drawn(CHANNELS)},
    ),
    "scan": (cpu, partial(selective_scan, lengths=LENGTHS), SEQUENCE | {"C": drawn(3, 4, 4)}),
    "last output": (last_cpu, partial(last_output, lengths=LENGTHS), SEQUENCE | {"C": drawn(3, 4)}),
}


def placed(arrays: dict[int, np.ndarray], near: tuple[int, int], gap: int) -> dict[int, np.ndarray]:
    """Copies far from each other, but for the second of ``near``, which begins ``gap`` bytes after the first ends.

    All begin at whole words of 8 bytes, as arrays do.
    """
    memory = np.empty(sum(array.nbytes + 2 * FAR for array in arrays.values()) // 8, np.uint64).view(np.uint8)
    at, found = 0, {}
    for address in (*(other for other in arrays if other not in near), *near):
        array = arrays[address]
        found[address] = memory[at : at + array.nbytes].view(array.dtype).reshape(array.shape)
        found[address][...] = array
        at += -(-(array.nbytes + (gap if address == near[0] else FAR)) // 8) * 8
    return found


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_narrow_array_right_before_another_changes_nothing(operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, function, arguments = OPERATIONS[operation]
    kernels = []

    def again(kernel: Any, chunks: int, *given: Any) -> None:
        """The kernel as it is called, then with each narrow array right before each other one."""
        kernels.append(kernel)
        arrays = {a.ctypes.data: a.copy() for a in given if isinstance(a, np.ndarray) and a.size}
        threads.for_each_chunk(kernel, chunks, *given)
        computed = {a.ctypes.data: a for a in given if isinstance(a, np.ndarray) and a.size}
        for near in itertools.permutations(arrays, 2):
            if arrays[near[0]].nbytes > NARROW:
                continue
            for gap in (0, 16, 64):
                there = placed(arrays, near, gap)
                moved = [there.get(a.ctypes.data, a) if isinstance(a, np.ndarray) else a for a in given]
                threads.for_each_chunk(kernel, chunks, *moved)
                for address, array in there.items():
                    assert array.tobytes() == computed[address].tobytes()

    monkeypatch.setattr(module, "for_each_chunk", again)
    value_and_gradients(partial(function, backend="cpu"), arguments)
    assert kernels == [module._forward, module._backward]
