"""Random numbers of code that knows no streams: from a seed, whatever generator of the process it draws from."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

#: In the place of numpy's old generator while another is not to move: to make one takes longer than to seed it.
_LEGACY = np.random.MT19937(0)


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Within it, torch (on the CPU and on ``device``), Python's ``random`` and ``numpy.random`` draw from ``seed``.

    Afterwards they go on as if nothing had been drawn. ``seed`` is in [0, 2^63). One thread at a time may use it, since
    the generators belong to the whole process. A generator that the code makes itself is not touched:
    ``numpy.random.default_rng()`` without a seed draws other numbers each time.
    """
    device = torch.device(device)
    others, legacy = random.getstate(), np.random.get_bit_generator()  # type: ignore[attr-defined]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.random.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.manual_seed(seed)
        random.seed(seed)
        np.random.set_bit_generator(_LEGACY)  # type: ignore[attr-defined]
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(others)
            np.random.set_bit_generator(legacy)  # type: ignore[attr-defined]


def drawn_so_far() -> tuple[Any, ...]:
    """The states of the process's generators, to be compared: they are equal if nothing was drawn in between."""
    kind, words, *rest = np.random.get_state()
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), kind, np.asarray(words).tobytes(), *rest
