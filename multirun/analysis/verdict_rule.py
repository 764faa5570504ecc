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
    alpha: float = 0.05,
    interval: Interval | None = None,
    margin: float | None = None,
) -> Verdict:
    """The declared rule, the only place where a difference becomes a word.

    ``mean``      of the differences over ``n`` pairs, positive where the first of the two is ahead.
    ``interval``  of the mean at one minus ``alpha``, and ``adjusted_p``, as ``statistics.combined_interval`` and
                  ``combined_p`` compute them: with the error of seeds and, where rows are known, that of users.

    With fewer than ``MIN_SEEDS`` pairs the verdict is ``indistinguishable``. Otherwise:

    1. ``equivalent``, if there is a ``margin``, and the ``interval`` lies within ``margin`` of zero.
    2. ``better`` or ``worse``, by the sign of the mean, if ``adjusted_p`` is below ``alpha``: the difference is neither
       the chance of the seeds nor that of which users were evaluated.
    3. ``indistinguishable`` in all other cases. It does not mean equal.

    ``adjusted_p`` and ``alpha`` are adjusted for the number of tests by the caller. A larger error of users only takes
    verdicts of the kinds 1 and 2 away, so whoever has none of them without that error need not compute it.
    """
    if n < MIN_SEEDS:
        return "indistinguishable"
    if margin is not None and interval is not None and -margin < interval[0] and interval[1] < margin:
        return "equivalent"
    if adjusted_p is None or not adjusted_p < alpha or mean == 0:
        return "indistinguishable"
    return "better" if mean > 0 else "worse"


RULE = (
    "A configuration is 'better' (or 'worse') if p, adjusted by Holm over all comparisons of the report, is below "
    "{alpha:g}, and there are at least {seeds} pairs. p has the error of the seeds and, where the scores of rows are "
    "known, that of resampled users. Otherwise they are 'indistinguishable', which does not mean equal."
)
