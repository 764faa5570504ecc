"""Finds trivial facts that decide the label, such as "the item is in the history", or one value of a field.

A model would learn such a fact and nothing else. Mostly it is an accident of how samples were made or labels were
recorded. But a fact may also decide the label by chance, or because few users or items have it. So a fact counts only
if rows of the other label were to be expected. The expected number follows from the click rate. For a fact about users
or items, each user or item counts once. For a fact about histories, it follows from how often another user's history
contains the same candidates. ``prepare`` calls ``check_deciding``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mdaf.data.preparing.layout import MOMENTS
from mdaf.data.schema import FIRST_ID, UNKNOWN
from mdaf.data.store.arrays import read_part
from mdaf.data.store.batches.histories import blocks_of, in_history, is_compared
from mdaf.data.store.event_store import SPLITS, USER_TABLE, EventStore
from mdaf.data.store.seen import seen_in_training
from mdaf.errors import LeakageError
from mdaf.terminal.printable import printable

log = logging.getLogger(__name__)

REFUSE, WARN = "refuse", "warn"
ROWS = 100  # a fact with fewer rows is ignored
NEARLY = 0.99  # a fact with at least this share of one label gets a warning
_EXPECTED = 14  # the least expected rows of the other label; to find none by chance has a probability below 1e-6
_FEWER = 5  # a nearly deciding fact has this many times fewer rows of the other label than expected
_VALUES = 30  # the single values of a field with more values are not checked
_BLOCKS = 16  # evenly spaced blocks of a split that are read first; a fact that decides them is checked in all blocks


@dataclass(frozen=True)
class DecidingFact:
    """A fact that (nearly) decides the label of the samples of a split.

    ``rows``      the checked samples for which the fact is true.
    ``positive``  the share of positives among them.
    """

    split: str
    fact: str
    rows: int
    positive: float

    @property
    def decides(self) -> bool:
        """Whether all samples for which the fact is true have the same label."""
        return self.positive in (0, 1)

    def __str__(self) -> str:
        return f"P(positive | {self.fact}) = {self.positive:.4g} over {self.rows:,} {self.split} samples"


@dataclass(frozen=True)
class _Rows:
    """The properties of some samples, (samples,) each.

    ``static``          field -> codes.
    ``held``            field of events -> whether the history contains the candidate's value.
    ``held_of_others``  field of events -> whether another user's history contains it.
    ``length``          the number of events in the history.
    """

    label: np.ndarray
    user: np.ndarray
    static: Mapping[str, np.ndarray]
    held: Mapping[str, np.ndarray]
    held_of_others: Mapping[str, np.ndarray]
    length: np.ndarray


_Fact = Callable[[_Rows], np.ndarray]  # for which samples the fact is true


def check_deciding(store: EventStore, name: str, decided: str = REFUSE) -> None:
    """Raises LeakageError if a trivial fact decides the label, and logs a warning if one nearly does.

    ``name``     the name of the log in messages.
    ``decided``  ``WARN``: only log a warning in both cases.
    """
    for fact in deciding_facts(store):
        if fact.decides and decided == REFUSE:
            raise LeakageError(
                f"{name}: {fact}: this fact alone decides the label, and a model would learn nothing else. Leave the "
                "field out or mend how labels are recorded; if it is right, data.decided_labels=warn prepares the log"
            )
        log.warning("%s: %s: a model would learn this fact first", name, fact)


def deciding_facts(store: EventStore) -> list[DecidingFact]:
    """The facts that decide, or nearly decide, the label in a split. Those that decide it come first."""
    seen = seen_in_training(store)
    found = [fact for split in SPLITS for fact in _of_split(store, split, _facts(store, split, seen))]
    return sorted(found, key=lambda fact: not fact.decides)


def _of_split(store: EventStore, split: str, facts: Mapping[str, _Fact]) -> Iterator[DecidingFact]:
    blocks = list(blocks_of(len(store.samples[split])))
    looked_at = blocks[:: -(-len(blocks) // _BLOCKS)]
    rows = _joined([_read(store, split, block) for block in looked_at])
    unread = [block for block in blocks if block not in looked_at]
    for name, fact in facts.items():
        has = fact(rows)
        if not ROWS <= has.sum() < len(has):
            continue
        positive = float(rows.label[has].mean())
        other = rows.label != round(positive)
        expected = _expected(rows, name, has, other)
        if 1 - NEARLY < positive < NEARLY or expected < max(_EXPECTED, _FEWER * int((has & other).sum())):
            continue
        yield _confirmed(store, split, unread, fact, DecidingFact(split, name, int(has.sum()), positive))


def _confirmed(store: EventStore, split: str, unread: list[slice], fact: _Fact, found: DecidingFact) -> DecidingFact:
    """Checks a fact that decides the labels of some blocks in the other blocks, up to the first exception."""
    if not found.decides:
        return found
    count = found.rows
    for block in unread:
        rows = _read(store, split, block)
        has = fact(rows)
        count += int(has.sum())
        if (rows.label[has] != found.positive).any():
            exceptions = int((rows.label[has] != found.positive).sum())
            return DecidingFact(split, found.fact, count, abs(found.positive - exceptions / count))
    return DecidingFact(split, found.fact, count, found.positive)


def _expected(rows: _Rows, name: str, has: np.ndarray, other: np.ndarray) -> float:
    """The expected number of samples with the other label among those for which a fact is true."""
    for field, held_of_others in rows.held_of_others.items():
        if name == _held(field):
            return float((held_of_others & other).sum())
    independent = int(has.sum())
    for owner in (rows.user, rows.static.get("item")):
        if owner is not None:
            every, mine = np.bincount(owner), np.bincount(owner[has], minlength=int(owner.max()) + 1)
            if ((mine == 0) | (mine == every)).all():
                independent = min(independent, int((mine > 0).sum()))
    return independent * float(other.mean()) / (10 if name.split("=")[0] in MOMENTS else 1)  # shops close at night


def _held(field: str) -> str:
    return f"{field} in history"


def _facts(store: EventStore, split: str, seen: Mapping[str, np.ndarray]) -> dict[str, _Fact]:
    """All facts that are checked, by their texts."""
    facts: dict[str, _Fact] = {}

    def add(fact: _Fact, name: str, otherwise: str) -> None:
        facts[name] = fact
        facts[otherwise] = lambda rows: ~fact(rows)

    add(_is_empty, "history empty", "history not empty")
    for name in store.schema.target:
        if is_compared(store, name):  # the opposite is no accident: users may view only items that they know
            facts[_held(name)] = _is_held(name)
    for field in store.schema.static:
        name = field.name
        add(_is_value(name, UNKNOWN), f"{name} missing", f"{name} not missing")
        if field.table in store.schema.cells:  # no model sees a single cell of these
            continue
        if split != "train" and field.table in seen:
            add(_is_seen(name, seen[field.table]), f"{name} seen in training", f"{name} not seen in training")
        values = store.vocabulary(field.table)
        if len(values) <= _VALUES and field.table != USER_TABLE:
            for code, value in enumerate(values.tolist(), FIRST_ID):
                facts[f"{name}={printable(value)}"] = _is_value(name, code)
    return facts


def _is_empty(rows: _Rows) -> np.ndarray:
    return rows.length == 0


def _is_held(name: str) -> _Fact:
    return lambda rows: rows.held[name]


def _is_value(name: str, code: int) -> _Fact:
    return lambda rows: rows.static[name] == code


def _is_seen(name: str, seen: np.ndarray) -> _Fact:
    return lambda rows: seen[rows.static[name]]


def _read(store: EventStore, split: str, block: slice) -> _Rows:
    samples = store.samples[split]
    user, end = read_part(samples.user, block), read_part(samples.end, block)
    static = {field.name: read_part(samples.static[field.name], block) for field in store.schema.static}
    compared = [name for name in store.schema.target if is_compared(store, name)]
    held, held_of_others = {}, {}
    for name in compared:
        held[name] = in_history(store, split, name, block)
        another = np.roll(np.arange(len(user)), len(user) // 2)  # half a block away: another user, mostly
        candidates = static[store.schema.target[name]][another]
        lent = np.empty(len(user), dtype=bool)
        lent[another] = in_history(store, split, name, block, candidates) & (user != user[another])
        held_of_others[name] = lent
    return _Rows(
        label=read_part(samples.label, block),
        user=store.users_of[user],
        static=static,
        held=held,
        held_of_others=held_of_others,
        length=end - store.user_offsets[user],
    )


def _joined(parts: list[_Rows]) -> _Rows:
    def joined(name: str) -> dict[str, np.ndarray]:
        return {
            field: np.concatenate([getattr(part, name)[field] for part in parts]) for field in getattr(parts[0], name)
        }

    return _Rows(
        label=np.concatenate([part.label for part in parts]),
        user=np.concatenate([part.user for part in parts]),
        static=joined("static"),
        held=joined("held"),
        held_of_others=joined("held_of_others"),
        length=np.concatenate([part.length for part in parts]),
    )
