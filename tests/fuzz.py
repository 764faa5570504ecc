"""How much is fuzzed: a handful of inputs with every run of the suite, ten thousand as a proof, in equal parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

PARTS = 16
PROOF = 10_000

parts = pytest.mark.parametrize(
    "part",
    [
        pytest.param(0, id="a few"),
        *(pytest.param(part, id=f"part {part} of {PARTS}", marks=pytest.mark.slow) for part in range(1, PARTS + 1)),
    ],
)


def fuzz(strategy: SearchStrategy[Any], check: Callable[[Any], None], part: int, few: int = 25) -> None:
    """Calls ``check`` with inputs of a part: the same ones each time."""

    @seed(part)
    @settings(
        max_examples=few if part == 0 else PROOF // PARTS,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def every(value: Any) -> None:
        check(value)

    every()
