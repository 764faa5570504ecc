"""Which versions of the code trained the runs that are compared: said in the plan, and first of all in the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from mdaf.multirun.analysis.wording import listed, several, short


def of_other_code(commits: Iterable[str], own: str) -> str | None:
    """In words, if runs were trained by another commit than ``own``, or by several; None if all are of this one."""
    counts = Counter(commits)
    if set(counts) <= {own}:
        return None
    runs = listed([f"{several(number, 'run')} of commit {short(one)}" for one, number in counts.items()])
    return f"{runs}, while this is the code of {short(own)}; a difference between runs may come from the code"
