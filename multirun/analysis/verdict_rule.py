"""The rule by which a report calls a configuration better, worse or indistinguishable from another."""

from __future__ import annotations

from typing import Literal

from mdaf.multirun.analysis.statistics import Interval

Verdict = Literal["better", "worse", "indistinguishable"]

MIN_SEEDS = 3  # fewer pairs give no verdict


def verdict(
    mean: float, n: int, adjusted_p: float | None, rows_interval: Interval | None = None, alpha: float = 0.05
) -> Verdict:
    """The declared rule, the only place where a difference becomes a word.

    ``better`` or ``worse``, by the sign of the mean paired difference, if all of this holds; else
    ``indistinguishable``:

    1. there are ``MIN_SEEDS`` pairs or more;
    2. Holm's adjusted p of the paired t-test is below ``alpha``: the difference is not the seeds' chance;
    3. where it is known, the interval of the difference over resampled users lies on the same side of zero: the
       difference is not the chance of which users were in the evaluation.

    Each condition only takes verdicts away, so a false ``better`` is at most ``alpha / 2`` likely. The exact
    permutation test is reported beside it but is no condition, since at five seeds it cannot go below 0.0625.
    """
    if n < MIN_SEEDS or adjusted_p is None or not adjusted_p < alpha or mean == 0:
        return "indistinguishable"
    if rows_interval is not None and not (rows_interval[0] > 0 if mean > 0 else rows_interval[1] < 0):
        return "indistinguishable"
    return "better" if mean > 0 else "worse"


RULE = (
    "A configuration is 'better' (or 'worse') if the paired t-test over the seeds, adjusted by Holm over all "
    "comparisons of the report, has p below {alpha:g}, there are at least {seeds} pairs, and the interval of the "
    "difference over resampled users, where it is known, lies wholly on the same side of zero. Otherwise they are "
    "'indistinguishable', which does not mean equal."
)
