"""Models as they are before training: each drawn from a random stream of its own, several at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from mdaf.streams import stream_seed

#: What draws from a generator that may be named.
DRAWS = frozenset(
    {"uniform_", "normal_", "log_normal_", "exponential_", "bernoulli_", "random_", "bernoulli", "normal"}
    | {"rand", "randn", "randint", "randperm", "multinomial"}
)
#: Models that are drawn at a time; more would wait for each other's memory.
AT_ONCE = 8


class _DrawingFrom(TorchFunctionMode):
    """Within it, what this thread draws comes from ``generator``: the one of the process is shared by all threads."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self._generator = generator

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        if getattr(function, "__name__", "") in DRAWS and named.get("generator") is None:
            named["generator"] = self._generator
        return function(*args, **named)


class _Undrawn(TorchFunctionMode):
    """Within it, what would be drawn into a tensor is zero."""

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(function, "__name__", "")
        if name in DRAWS and name.endswith("_"):
            return args[0].zero_()
        return function(*args, **(kwargs or {}))


def undrawn(build_model: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Builds the same model with zeros for what is drawn at random: where shapes matter and drawing takes seconds."""

    def build() -> nn.Module:
        with _Undrawn():
            return build_model()

    return build


def initialized(build_model: Callable[[], nn.Module], seed: int, epoch: int = 1) -> nn.Module:
    """A model of one replica, initialized on the CPU from the stream "init" of its seed, whatever device trains it."""
    names = ("init",) if epoch == 1 else ("init", epoch)
    with _DrawingFrom(torch.Generator().manual_seed(stream_seed(seed, *names))):
        return build_model()


def all_initialized(build_model: Callable[[], nn.Module], seeds: Sequence[int]) -> list[nn.Module]:
    """``initialized`` for each seed, at the same time: drawing a large table leaves Python free."""
    if len(seeds) == 1:
        return [initialized(build_model, seeds[0])]
    with ThreadPoolExecutor(min(len(seeds), os.cpu_count() or 1, AT_ONCE), thread_name_prefix="initial") as pool:
        return list(pool.map(lambda seed: initialized(build_model, seed), seeds))
