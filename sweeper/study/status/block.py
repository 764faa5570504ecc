"""The status of a sweep as a few lines for a terminal of any width: nothing is cut, long lines are wrapped."""

from __future__ import annotations

from collections.abc import Sequence

from mdaf.messages.secrets import masked_text
from mdaf.sweeper.study.queries import short_names
from mdaf.sweeper.study.status.status import RunningTrial, Status
from mdaf.terminal.durations import in_words, time_of

MOST_RUNNING = 4  # trials that are named


def rows_of(status: Status, now: float, waits_for: str = "") -> dict[str, str]:
    """The lines of a status by their headings; ``now`` is in unix seconds, ``waits_for`` what the sweep waits for."""
    rows = {"study": status.study, "trials": _trials(status)}
    if status.running:
        rows["running"] = _running(status.running, now)
    if status.best:
        point = point_in_words(status)
        rows["best"] = f"{status.best}: {point}" if point else status.best
    if left := time_left(status, now):
        rows["left"] = left
    if waits_for:
        rows["waits for"] = waits_for
    return {heading: masked_text(text) for heading, text in rows.items()}


def share_of(status: Status) -> float | None:
    """How much of a sweep is done, in [0, 1]; None if nobody said how many trials there are to be."""
    return None if not status.target else min(1.0, status.done / status.target)


def time_left(status: Status, now: float) -> str:
    """How long the rest takes, and until when; empty if that is unknown or nothing is left."""
    if status.target is not None and status.done >= status.target:
        return ""
    seconds = status.seconds_left(now)
    if seconds is None:
        return "" if status.target is None else "known when a trial has ended"
    until = time_of(now + seconds, now)
    if status.pace is not None and status.pace.at_most:
        return f"at most {in_words(seconds)}, until {until}: only first trials have ended, which also compile"
    return f"about {in_words(seconds)}, until {until}"


def point_in_words(status: Status) -> str:
    """The parameters of the best point, each as ``name=value``."""
    names = short_names(list(status.point))
    return " ".join(f"{names[name]}={_value(value)}" for name, value in status.point.items())


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _trials(status: Status) -> str:
    counts = {
        "pruned": status.pruned,
        "failed": status.failed,
        "interrupted": status.interrupted,
        "waiting": status.waiting,
    }
    others = [f"{count} {word}" for word, count in counts.items() if count]
    if status.target is None and not (status.done or status.running or others):
        return "no trial yet"
    of = "" if status.target is None else f" of {status.target}"
    return ", ".join([status.progress or f"{status.done}{of} done", *others])


def _running(trials: Sequence[RunningTrial], now: float) -> str:
    named = []
    for trial in trials[:MOST_RUNNING]:
        epoch = "" if trial.epoch is None else f", epoch {trial.epoch}"
        value = "" if trial.value is None else f": {trial.value:.5g}"
        named.append(f"trial {trial.number} ({in_words(max(0.0, now - trial.began))}{epoch}{value})")
    more = len(trials) - MOST_RUNNING
    said = ", ".join(named) + (f" and {more} more" if more > 0 else "")
    return said if len(trials) == 1 else f"{len(trials)}: {said}"
