"""Which versions of the code trained the runs that are compared: said in the plan, and first of all in the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from mdaf.multirun.analysis.wording import listed, several, short


def of_other_code(commits: Iterable[str], own: str | None) -> str | None:
    """In words, if runs were trained by another commit than ``own``, or by several; None if all are of one code.

    ``own``  the commit of the code that is named beside theirs; None: runs are compared with each other alone.
    """
    counts = Counter(commits)
    if len(counts) <= 1 and (own is None or set(counts) <= {own}):
        return None
    runs = listed([f"{several(number, 'run')} of commit {short(one)}" for one, number in counts.items()])
    this = "" if own is None else f", while this is the code of {short(own)}"
    return f"{runs}{this}; a difference between runs may come from the code"
