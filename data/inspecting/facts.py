"""Facts about a prepared store, and the tables in which ``python -m data inspect`` prints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console

from mdaf.data.inspecting.baselines import oracle_auc, rule_aucs
from mdaf.data.schema import FIRST_ID, UNKNOWN
from mdaf.data.store.arrays import parts_of, read_part, read_parts
from mdaf.data.store.event_store import SPLITS, USER_TABLE, EventStore
from mdaf.terminal.printable import printable
from mdaf.terminal.tables import Column, fitted, left_out

QUANTILES = {"min": 0.0, "p10": 0.1, "median": 0.5, "p90": 0.9, "max": 1.0}


@dataclass(frozen=True)
class SplitFacts:
    """Facts about a split. All shares are fractions of its samples.

    ``rows``             the number of samples.
    ``lengths``          quantiles of the history lengths, in events.
    ``empty_histories``  the share of samples without history.
    ``new_users``        the share of samples whose user does not occur in training.
    ``unseen``           static field -> the shares of positives and of negatives whose value never occurs in training.
                         If the two differ, a model can score just by noticing that a value is new.
    ``rowless``          static field -> the share whose value has no row of its own and reads the unknown row.
    ``missing``          static field -> the share without a value, which reads the unknown row too.
    ``oracle``           the AUC of the true click probabilities; None if they are unknown.
    """

    rows: int
    click_rate: float
    lengths: Mapping[str, float]
    empty_histories: float
    new_users: float
    unseen: Mapping[str, tuple[float, float]]
    rowless: Mapping[str, float]
    missing: Mapping[str, float]
    oracle: float | None


@dataclass(frozen=True)
class Inspection:
    """Facts about a store: ``splits`` by split, and ``rules``, the AUC of each trivial rule on each split."""

    splits: Mapping[str, SplitFacts]
    rules: Mapping[str, Mapping[str, float]]


def inspect(store: EventStore) -> Inspection:
    """All facts about a store. Its arrays are read in parts, so the store need not fit in memory."""
    users, seen = _users_in_training(store), _seen_in_training(store)
    return Inspection({split: _split_facts(store, split, users, seen) for split in SPLITS}, rule_aucs(store))


def _split_facts(store: EventStore, split: str, users: np.ndarray, seen: Mapping[str, np.ndarray]) -> SplitFacts:
    samples = store.samples[split]
    lengths = store.history_lengths(split)
    new_user = [~users[store.users_of[user]] for user in read_parts(samples.user)]
    unseen, rowless, missing = {}, {}, {}
    for field in store.schema.static:
        new, without_row, without_value = [], 0, 0
        for codes in read_parts(samples.static[field.name]):
            new.append(~seen[field.table][codes])
            without_row += int((codes >= store.schema.tables[field.table]).sum())
            without_value += int((codes == UNKNOWN).sum())
        unseen[field.name] = _share_of_each(np.concatenate(new), samples.label)
        rowless[field.name], missing[field.name] = without_row / len(samples), without_value / len(samples)
    return SplitFacts(
        rows=len(samples),
        click_rate=_share(np.asarray(samples.label, dtype=bool)),
        lengths={name: float(np.quantile(lengths, q)) for name, q in QUANTILES.items()},
        empty_histories=_share(lengths == 0),
        new_users=_share(np.concatenate(new_user)),
        unseen=unseen,
        rowless=rowless,
        missing=missing,
        oracle=oracle_auc(store, split),
    )


def _share(flags: np.ndarray) -> float:
    return float(np.mean(flags)) if len(flags) else float("nan")


def _share_of_each(flags: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """The shares of ``flags`` among the positives and among the negatives."""
    clicked = np.asarray(label, dtype=bool)
    return _share(flags[clicked]), _share(flags[~clicked])


def _users_in_training(store: EventStore) -> np.ndarray:
    """Whether each user has an event or a sample in training, (users,)."""
    known = np.zeros(int(store.users_of.max(initial=-1)) + 1, dtype=bool)
    first, last = store.user_offsets[:-1], store.user_offsets[1:]
    active = np.flatnonzero(first < last)
    known[store.users_of[active[store.time[first[active]] < store.boundaries[0]]]] = True
    if store.held_out:
        known &= ~store.held_out_users[: len(known)]
    for user in read_parts(store.samples["train"].user):
        known[store.users_of[user]] = True
    return known


def _seen_in_training(store: EventStore) -> dict[str, np.ndarray]:
    """For each table, whether each of its codes occurs in an event or a sample of training."""
    static, sequence = store.schema.static, [f for f in store.schema.sequence if f.name in store.events]
    seen: dict[str, np.ndarray] = {}
    for table in {field.table for field in static}:
        own = [samples.static[f.name] for samples in store.samples.values() for f in static if f.table == table]
        events = [store.events[field.name] for field in sequence if field.table == table]
        known = np.zeros(1 + max(int(codes.max()) for array in (*own, *events) for codes in read_parts(array)), bool)
        for field in static:
            if field.table == table:
                for codes in read_parts(store.samples["train"].static[field.name]):
                    known[codes] = True
        for array in events:
            for part in parts_of(len(array)):
                known[read_part(array, part)[store.of_training(part)]] = True
        seen[table] = known
    if USER_TABLE in seen:
        users = np.flatnonzero(_users_in_training(store)) + FIRST_ID
        seen[USER_TABLE] = np.pad(seen[USER_TABLE], (0, max(0, int(users.max(initial=0)) + 1 - len(seen[USER_TABLE]))))
        seen[USER_TABLE][users] = True
    return seen


def show(store: EventStore, found: Inspection, console: Console) -> None:
    """Prints the facts about every split, the defects of the raw file, and the AUC of trivial rules."""
    counts = store.manifest["counts"]
    console.print(f"{printable(store.folder)}  data hash {store.data_hash}", soft_wrap=True)
    users = len(np.unique(store.users_of))
    console.print(f"{counts['events']:,} events of {users:,} users; histories of up to {store.schema.length}")
    _print(console, "Samples", ["", *found.splits], _split_rows(found.splits))
    _print_defects(console, store)
    sizes = [[name, f"{rows:,}"] for name, rows in store.schema.tables.items()]
    _print(console, "Embedding tables", ["table", "rows, padding and unknown included"], sizes)
    splits = ("validation", "test")
    rules = [[rule, *(f"{by_split[split]:.4f}" for split in splits)] for rule, by_split in found.rules.items()]
    if found.splits["validation"].oracle is not None:
        rules.append(["oracle: no model can pass", *(f"{found.splits[split].oracle:.4f}" for split in splits)])
    _print(console, "AUC of trivial rules", ["rule", *splits], rules)


def _print(console: Console, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table whose first column is text and whose other columns are numbers."""
    columns = [
        Column(heading, [row[number] for row in rows], right=number > 0, rank=number)
        for number, heading in enumerate(header)
    ]
    table, dropped = fitted(columns, console.width, framed=True, title=title)
    console.print(table)
    if dropped:
        console.print(left_out(dropped, "| cat shows all"))


def _split_rows(facts: Mapping[str, SplitFacts]) -> list[list[str]]:
    every = list(facts.values())
    rows = [
        ["rows", *(f"{fact.rows:,}" for fact in every)],
        ["click rate", *(f"{fact.click_rate:.4f}" for fact in every)],
        *([f"history length, {name}", *(f"{fact.lengths[name]:g}" for fact in every)] for name in QUANTILES),
        ["empty history", *(f"{fact.empty_histories:.2%}" for fact in every)],
        ["user new since training", *(f"{fact.new_users:.2%}" for fact in every)],
    ]
    for field in ("item", "category"):
        if field in every[0].unseen:
            for number, kind in enumerate(("positives", "negatives")):
                values = (f"{fact.unseen[field][number]:.2%}" for fact in every)
                rows.append([f"{field} unseen in training, {kind}", *values])
    for field in every[0].rowless:
        for text, shares in {
            "without a row of its own": [fact.rowless[field] for fact in every],
            "missing": [fact.missing[field] for fact in every],
        }.items():
            if any(shares):
                rows.append([f"{field} {text}", *(f"{share:.2%}" for share in shares)])
    return rows


def _print_defects(console: Console, store: EventStore) -> None:
    defects = store.defects
    if not defects.rows:
        console.print("No raw file: nothing was dropped.")
    elif not defects.bad and not defects.incomplete:
        console.print(f"{defects.rows:,} rows read, none of them bad.")
    else:
        columns = {"dropped": defects.dropped, "corrected": defects.corrected, "incomplete": defects.incomplete}
        kinds = {**defects.dropped, **defects.corrected, **defects.incomplete}
        rows = [[kind, *(f"{found.get(kind, 0):,}" for found in columns.values())] for kind in kinds]
        _print(console, f"Bad rows, of {defects.rows:,}", ["kind", *columns], rows)
