"""Converts an override that sweeps into Optuna's distribution, with the results of hydra-optuna-sweeper ("upstream").

Hydra's parser reads the override. Its versions keep the numbers of a range in other types, so a range is computed here,
in decimals: ``range(0.1,0.4,step=0.1)`` holds 0.3 and not 0.30000000000000004.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Transformer
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from mdaf.sweeper.hydra_ext.overrides import choice_of


def distribution_of(override: Override) -> BaseDistribution:
    """The distribution that a sweep override describes.

    Raises ValueError for an empty range, for bounds in the wrong order, and for a sweep that Optuna has no kind for.
    """
    swept = override.value()
    if isinstance(swept, ChoiceSweep):
        return CategoricalDistribution([choice_of(element) for element in swept.list])
    if isinstance(swept, RangeSweep):
        return _of_range(swept)
    if isinstance(swept, IntervalSweep):
        return _of_interval(swept)
    raise ValueError("expected choice(...), range(...) or interval(...)")


def _of_interval(swept: IntervalSweep) -> BaseDistribution:
    low, high, log = swept.start, swept.end, "log" in swept.tags
    assert low is not None
    assert high is not None
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    if not math.isfinite(high - low):
        raise ValueError("expected finite bounds")
    return FloatDistribution(low, high, log=log)


def _of_range(swept: RangeSweep) -> BaseDistribution:
    if swept.step == 0:
        raise ValueError("the step of a range cannot be zero")
    if not all(math.isfinite(bound) for bound in (swept.start or 0, swept.stop or 0, swept.step)):
        raise ValueError("expected finite bounds")
    values = _Range(swept)
    if not values.count:
        raise ValueError("the range is empty")
    transformers = getattr(swept, "transformers", ())  # since Hydra 1.4, for casts such as str(range(1,3))
    if swept.shuffle or transformers:
        members: Sequence[Any] = values.members()
        for transformer in transformers:
            members = [transformer(member) for member in members]
        if not swept.shuffle:
            members = [Transformer.encode(member) for member in members]
        return CategoricalDistribution([choice_of(member) for member in members] if swept.shuffle else members)
    low, high, step = values.bounds()
    if isinstance(low, int):
        return IntDistribution(low, int(high), step=int(step))
    if values.is_exact():
        return FloatDistribution(low, high, step=step)
    return CategoricalDistribution(values.members())


class _Range:
    """The numbers of a range in decimals. Hydra's ``stop`` is excluded, Optuna's bounds are included."""

    def __init__(self, swept: RangeSweep) -> None:
        self.whole = all(isinstance(number, int) for number in (swept.start, swept.stop, swept.step))
        self.start, stop, self.step = (Decimal(str(number)) for number in (swept.start, swept.stop, swept.step))
        self.count = max(0, math.ceil((Fraction(stop) - Fraction(self.start)) / Fraction(self.step)))
        self.last = self.start + (self.count - 1) * self.step

    def members(self) -> list[Any]:
        numbers = (self.start + number * self.step for number in range(self.count))
        return [int(number) if self.whole else float(number) for number in numbers]

    def bounds(self) -> tuple[Any, Any, Any]:
        """The least and the greatest member, and the positive step."""
        kind = int if self.whole else float
        low, high = sorted((self.start, self.last))
        return kind(low), kind(high), kind(abs(self.step))

    def is_exact(self) -> bool:
        """Whether Optuna, which computes in floats, hits the members."""
        low, high, step = self.bounds()
        texts = zip((low, high, step), (*sorted((self.start, self.last)), abs(self.step)), strict=True)
        if any(Decimal(str(number)) != exact for number, exact in texts):
            return False
        return low == high or step >= max(math.ulp(low), math.ulp(high))


def grid_values(distribution: BaseDistribution) -> Sequence[Any]:
    """The values that a grid takes from a distribution. Raises ValueError if it is continuous."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution):
        return list(range(distribution.low, distribution.high + 1, distribution.step))
    if not isinstance(distribution, FloatDistribution) or distribution.step is None:
        raise ValueError("GridSampler only supports discrete distributions.")
    low, high, step = (Decimal(str(n)) for n in (distribution.low, distribution.high, distribution.step))
    count = math.ceil(Fraction(high - low) / Fraction(step))
    return [*(float(low + number * step) for number in range(count)), distribution.high]
