"""The rule by which a difference becomes a word: better, worse, equivalent or indistinguishable."""

from __future__ import annotations

from typing import Literal

from mdaf.multirun.analysis.statistics import Interval

Verdict = Literal["better", "worse", "equivalent", "indistinguishable"]

MIN_SEEDS = 3  # fewer pairs give no verdict


def verdict(
    mean: float,
    n: int,
    adjusted_p: float | None,
    rows_interval: Interval | None = None,
    alpha: float = 0.05,
    interval: Interval | None = None,
    margin: float | None = None,
) -> Verdict:
    """The declared rule, the only place where a difference becomes a word.

    ``mean``  of the differences over ``n`` pairs, positive where the first of the two is ahead.

    With fewer than ``MIN_SEEDS`` pairs the verdict is ``indistinguishable``. Otherwise:

    1. ``equivalent``, if there is a ``margin``, and the ``interval`` of the mean lies within ``margin`` of zero. The
       interval over resampled users has to do so too, where it is known.
    2. ``better`` or ``worse``, by the sign of the mean, if the p of the paired t-test is below ``alpha``: the
       difference is not the seeds' chance. Where it is known, the interval over resampled users has to lie on the same
       side of zero: the difference is not the chance of which users were in the evaluation.
    3. ``indistinguishable`` in all other cases. It does not mean equal.

    ``adjusted_p`` and ``alpha`` are adjusted for the number of tests by the caller. The second condition of either
    kind only takes verdicts away, so a false ``better`` is at most ``alpha / 2`` likely.
    """
    if n < MIN_SEEDS:
        return "indistinguishable"
    if margin is not None and interval is not None and all(_within(one, margin) for one in (interval, rows_interval)):
        return "equivalent"
    if adjusted_p is None or not adjusted_p < alpha or mean == 0:
        return "indistinguishable"
    if rows_interval is not None and not (rows_interval[0] > 0 if mean > 0 else rows_interval[1] < 0):
        return "indistinguishable"
    return "better" if mean > 0 else "worse"


def _within(interval: Interval | None, margin: float) -> bool:
    return interval is None or (-margin < interval[0] and interval[1] < margin)


RULE = (
    "A configuration is 'better' (or 'worse') if the paired t-test over the seeds, adjusted by Holm over all "
    "comparisons of the report, has p below {alpha:g}, there are at least {seeds} pairs, and the interval of the "
    "difference over resampled users, where it is known, lies wholly on the same side of zero. Otherwise they are "
    "'indistinguishable', which does not mean equal."
)
