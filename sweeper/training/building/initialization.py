"""Initial models: each is drawn from a random stream of its own, several at the same time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from mdaf.hardware import cores
from mdaf.model.seeding import drawn_so_far, seeded
from mdaf.streams import stream_seed

#: Functions that draw random numbers and take a ``generator``.
DRAWS = frozenset(
    {"uniform_", "normal_", "log_normal_", "exponential_", "bernoulli_", "random_", "bernoulli", "normal"}
    | {"rand", "randn", "randint", "randperm", "multinomial"}
)
#: The most models that are drawn at the same time; more would wait for memory bandwidth.
AT_ONCE = 8


class _DrawingFrom(TorchFunctionMode):
    """While it is active, this thread draws from ``generator``, not from the generator that all threads share."""

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
    """While it is active, tensors that would be drawn at random are zero."""

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(function, "__name__", "")
        if name in DRAWS and name.endswith("_"):
            return args[0].zero_()
        return function(*args, **(kwargs or {}))


def undrawn(build_model: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Builds the same model with zeros instead of random numbers, which saves seconds where only shapes matter."""

    def build() -> nn.Module:
        with seeded(0), _Undrawn():
            return build_model()

    return build


def initialized(build_model: Callable[[], nn.Module], seed: int, epoch: int = 1) -> nn.Module:
    """The initial model of one replica, drawn on the CPU from the stream "init" of its seed for every device.

    Whatever it is drawn with counts: torch, Python's ``random`` and ``numpy.random``.
    """
    with seeded(_stream(seed, epoch)):
        return build_model()


def all_initialized(
    build_model: Callable[[], nn.Module], seeds: Sequence[int], *, in_threads: bool = False
) -> list[nn.Module]:
    """``initialized`` for each seed. ``in_threads``: at the same time, since drawing a large table releases the GIL.

    The generators of the process cannot serve several threads, so each thread's draws are led to a generator of its
    own. What draws otherwise moves the process's generators, which shows: then the models are built one by one.
    """
    if in_threads and len(seeds) > 1:
        with seeded(0):
            before = drawn_so_far()
            models = _at_the_same_time(build_model, seeds)
            if drawn_so_far() == before:
                return models
    return [initialized(build_model, seed) for seed in seeds]


def _at_the_same_time(build_model: Callable[[], nn.Module], seeds: Sequence[int]) -> list[nn.Module]:
    def built(seed: int) -> nn.Module:
        with _DrawingFrom(torch.Generator().manual_seed(_stream(seed))):
            return build_model()

    with ThreadPoolExecutor(min(len(seeds), len(cores.usable()), AT_ONCE), thread_name_prefix="initial") as pool:
        return list(pool.map(built, seeds))


def _stream(seed: int, epoch: int = 1) -> int:
    return stream_seed(seed, "init") if epoch == 1 else stream_seed(seed, "init", epoch)
