"""Facts about a prepared store, and the tables in which ``python -m data inspect`` prints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console

from mdaf.data.inspecting.baselines import oracle_auc, rule_aucs_of_both
from mdaf.data.inspecting.cell_facts import cell_facts
from mdaf.data.preparing.checking.deciding import DecidingFact, deciding_facts
from mdaf.data.reading.local_time import local_text
from mdaf.data.schema import FIRST_ID, UNKNOWN
from mdaf.data.store.arrays import read_parts
from mdaf.data.store.batches.histories import ITEM, item_in_history
from mdaf.data.store.event_store import GAP_FIELD, SPLITS, USER_TABLE, EventStore
from mdaf.data.store.promises import promise_in_words
from mdaf.data.store.seen import MOST, has_users, seen_in_training, unknown_users
from mdaf.terminal.printable import printable
from mdaf.terminal.tables import Column, stacked

QUANTILES = {"min": 0.0, "p10": 0.1, "median": 0.5, "p90": 0.9, "max": 1.0}


@dataclass(frozen=True)
class SplitFacts:
    """Facts about a split. All shares are fractions of its samples.

    ``rows``             the number of samples.
    ``lengths``          quantiles of the history lengths, in events.
    ``empty_histories``  the share of samples without history.
    ``new_users``        the share of samples whose user does not occur in training; None if the log has no users.
    ``unknown_users``    the share of the split's users who do not occur in training.
    ``unseen``           static field -> the shares of positives and of negatives whose value never occurs in training.
                         If the two differ, a model can score just by noticing that a value is new.
    ``rowless``          static field -> the share whose value has no row of its own and reads the unknown row.
    ``missing``          static field -> the share without a value, which reads the unknown row too.
    ``oracle``           the AUC of the true click probabilities; None if they are unknown.
    ``new_items``        the share whose item never occurs in training; None if candidates have no items.
    ``in_history``       the number of samples whose item is in their history, and P(positive) among them; None if
                         events have no items.
    ``span``             the unix seconds of the first and of the last sample.
    """

    rows: int
    click_rate: float
    lengths: Mapping[str, float]
    empty_histories: float
    new_users: float | None
    unknown_users: float
    unseen: Mapping[str, tuple[float, float]]
    rowless: Mapping[str, float]
    missing: Mapping[str, float]
    oracle: float | None
    new_items: float | None
    in_history: tuple[int, float] | None
    span: tuple[int, int]


@dataclass(frozen=True)
class Inspection:
    """Facts about a store.

    ``splits``      by split.
    ``rules``       rule -> split -> AUC.
    ``new_rules``   the same on the samples whose item is new to the user; empty if events have no items.
    ``deciding``    trivial facts that decide the label, or nearly do.
    """

    splits: Mapping[str, SplitFacts]
    rules: Mapping[str, Mapping[str, float]]
    new_rules: Mapping[str, Mapping[str, float]]
    deciding: Sequence[DecidingFact]


def inspect(store: EventStore) -> Inspection:
    """All facts about a store. Its arrays are read in parts, so the store need not fit in memory."""
    seen = seen_in_training(store)
    for table in store.schema.cells:  # a number or a list is new if it reads no row of its own
        seen[table][FIRST_ID:] = store.pairs(table).ids[FIRST_ID:, 0] != UNKNOWN
    splits = {split: _split_facts(store, split, seen) for split in SPLITS}
    return Inspection(splits, *rule_aucs_of_both(store), deciding_facts(store))


def _split_facts(store: EventStore, split: str, seen: Mapping[str, np.ndarray]) -> SplitFacts:
    samples = store.samples[split]
    lengths = store.history_lengths(split)
    users = has_users(store)
    known = seen[USER_TABLE][FIRST_ID:] if users else np.zeros(0, dtype=bool)
    new_user = [~known[store.users_of[user]] for user in read_parts(samples.user)] if users else []
    unseen, rowless, missing = {}, {}, {}
    new_items = None
    for field in store.schema.static:
        new, without_row, without_value = [], 0, 0
        for codes in read_parts(samples.static[field.name]):
            new.append(~seen[field.table][codes])
            if field.table in store.schema.cells:
                without_row += int((~seen[field.table][codes] & (codes != UNKNOWN)).sum())
            else:
                without_row += int((codes >= store.schema.tables[field.table]).sum())
            without_value += int((codes == UNKNOWN).sum())
        if field.name == ITEM:
            new_items = _share(np.concatenate(new))
        unseen[field.name] = _share_of_each(np.concatenate(new), samples.label)
        rowless[field.name], missing[field.name] = without_row / len(samples), without_value / len(samples)
    return SplitFacts(
        rows=len(samples),
        click_rate=_share(np.asarray(samples.label, dtype=bool)),
        lengths={name: float(np.quantile(lengths, q)) for name, q in QUANTILES.items()},
        empty_histories=_share(lengths == 0),
        new_users=_share(np.concatenate(new_user)) if users else None,
        unknown_users=unknown_users(store, split),
        unseen=unseen,
        rowless=rowless,
        missing=missing,
        oracle=oracle_auc(store, split),
        new_items=new_items,
        in_history=_in_history(store, split),
        span=(min(int(t.min()) for t in read_parts(samples.time)), max(int(t.max()) for t in read_parts(samples.time))),
    )


def _in_history(store: EventStore, split: str) -> tuple[int, float] | None:
    held = item_in_history(store, split)
    return None if held is None else (int(held.sum()), _share(np.asarray(store.samples[split].label)[held]))


def _share(flags: np.ndarray) -> float:
    return float(np.mean(flags)) if len(flags) else float("nan")


def _share_of_each(flags: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """The shares of ``flags`` among the positives and among the negatives."""
    clicked = np.asarray(label, dtype=bool)
    return _share(flags[clicked]), _share(flags[~clicked])


def show(store: EventStore, found: Inspection, console: Console) -> None:
    """Prints the facts about every split, the defects of the raw file, and the AUC of trivial rules."""
    counts = store.manifest["counts"]
    console.print(f"{printable(store.folder)}  data hash {store.data_hash}", soft_wrap=True)
    users = len(np.unique(store.users_of))
    console.print(f"{counts['events']:,} events of {users:,} users; histories of up to {store.schema.length}")
    _print(console, "Samples", ["", *found.splits], [*_span_rows(store, found.splits), *_split_rows(found.splits)])
    console.print(f"Splits: {promise_in_words(store)}.")
    if (unknown := found.splits["validation"].unknown_users) > MOST:
        console.print(
            f"Training has not seen {unknown:.0%} of the users in validation, so models do without the user's id: "
            "model.without=[user] is the default for this log."
        )
    _print_defects(console, store)
    for line in cell_facts(store):
        console.print(line, highlight=False)
    sizes = [[name, f"{rows:,}"] for name, rows in store.schema.tables.items()]
    _print(console, "Embedding tables", ["table", "rows, padding and unknown included"], sizes)
    oracle = {"oracle: no model can pass": {split: fact.oracle for split, fact in found.splits.items()}}
    rules = {**found.rules, **(oracle if found.splits["validation"].oracle is not None else {})}
    _print(console, "AUC of trivial rules", ["rule", *SPLITS], _rule_rows(rules))
    if found.new_rules:
        _print(console, "AUC where the item is new to the user", ["rule", *SPLITS], _rule_rows(found.new_rules))
    for fact in found.deciding:
        console.print(f"{fact}: {'decides' if fact.decides else 'nearly decides'} the label alone.")


def _rule_rows(rules: Mapping[str, Mapping[str, float | None]]) -> list[list[str]]:
    def shown(value: float | None) -> str:
        return "-" if value is None or np.isnan(value) else f"{value:.4f}"

    return [[rule, *(shown(by_split.get(split)) for split in SPLITS)] for rule, by_split in rules.items()]


def _span_rows(store: EventStore, facts: Mapping[str, SplitFacts]) -> list[list[str]]:
    """First and last sample in the log's local time; none where times only stand for an order."""
    untimed = store.manifest["settings"].get("columns", {}).get("time", "") is None
    if untimed or all(field.name != GAP_FIELD for field in store.schema.sequence):
        return []
    offset = float(store.manifest["settings"].get("utc_offset_hours", 0))
    ends = (("first sample", 0), ("last sample", 1))
    return [[name, *(local_text(fact.span[end], offset) for fact in facts.values())] for name, end in ends]


def _print(console: Console, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table whose first column is text and whose other columns are numbers, as several if it is too wide."""
    columns = [
        Column(heading, [row[number] for row in rows], right=number > 0, rank=number)
        for number, heading in enumerate(header)
    ]
    for table in stacked(columns, console.width, framed=True, title=title):
        console.print(table)


def _split_rows(facts: Mapping[str, SplitFacts]) -> list[list[str]]:
    every = list(facts.values())
    rows = [
        ["rows", *(f"{fact.rows:,}" for fact in every)],
        ["click rate", *(f"{fact.click_rate:.4f}" for fact in every)],
        *([f"history length, {name}", *(f"{fact.lengths[name]:g}" for fact in every)] for name in QUANTILES),
        ["empty history", *(f"{fact.empty_histories:.2%}" for fact in every)],
    ]
    if all(fact.new_users is not None for fact in every):
        rows.append(["user unknown to training", *(f"{fact.new_users:.2%}" for fact in every)])
    if all(fact.new_items is not None for fact in every):
        rows.append(["item unknown to training", *(f"{fact.new_items:.2%}" for fact in every)])
    held = [fact.in_history for fact in every if fact.in_history is not None]
    if len(held) == len(every):
        rows.append(["item in history, samples", *(f"{count:,}" for count, _ in held)])
        rows.append(["P(positive | item in history)", *(f"{share:.4f}" if count else "-" for count, share in held)])
    for field in ("item", "category"):
        if field in every[0].unseen:
            for number, kind in enumerate(("positives", "negatives")):
                values = (f"{fact.unseen[field][number]:.2%}" for fact in every)
                rows.append([f"{field} unseen in training, {kind}", *values])
    for field in every[0].rowless:
        for text, shares in {
            "without an embedding of its own": [fact.rowless[field] for fact in every],
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
