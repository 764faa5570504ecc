"""What is in a prepared store, in numbers and in tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from data.rules import oracle_auc, rule_aucs
from data.schema import FIRST_ID
from data.store import SPLITS, USER_TABLE, EventStore

QUANTILES = {"min": 0.0, "p10": 0.1, "median": 0.5, "p90": 0.9, "max": 1.0}


@dataclass(frozen=True)
class SplitFacts:
    """Facts about a split; shares are of its samples.

    ``unseen``      static field -> shares of (positives, negatives) whose value never occurs in training: where they
                    differ, a model scores by noticing just that.
    ``rowless``     static field -> share whose value has no row of its own and reads the unknown one.
    """

    rows: int
    click_rate: float
    lengths: Mapping[str, float]
    empty_histories: float
    new_users: float
    unseen: Mapping[str, tuple[float, float]]
    rowless: Mapping[str, float]
    oracle: float | None


def split_facts(store: EventStore, split: str) -> SplitFacts:
    """Facts about a split of at least one sample."""
    samples = store.samples[split]
    lengths = store.history_lengths(split)
    label = np.asarray(samples.label, dtype=bool)
    seen = _seen_in_training(store)
    schema = store.schema
    unseen, rowless = {}, {}
    for field in schema.static:
        new = ~seen[field.table][samples.static[field.name]]
        unseen[field.name] = (_share(new[label]), _share(new[~label]))
        rowless[field.name] = _share(samples.static[field.name] >= schema.tables[field.table])
    return SplitFacts(
        rows=len(samples),
        click_rate=_share(label),
        lengths={name: float(np.quantile(lengths, q)) for name, q in QUANTILES.items()},
        empty_histories=_share(lengths == 0),
        new_users=_share(~_users_in_training(store)[store.users_of[samples.user]]),
        unseen=unseen,
        rowless=rowless,
        oracle=oracle_auc(store, split),
    )


def _share(what: np.ndarray) -> float:
    return float(np.mean(what)) if len(what) else float("nan")


def _users_in_training(store: EventStore) -> np.ndarray:
    """Whether each user has an event or a sample in training, (users,)."""
    known = np.zeros(int(store.users_of.max(initial=-1)) + 1, dtype=bool)
    first, last = store.user_offsets[:-1], store.user_offsets[1:]
    active = np.flatnonzero(first < last)
    known[store.users_of[active[store.time[first[active]] < store.boundaries[0]]]] = True
    known[store.users_of[store.samples["train"].user]] = True
    return known


def _seen_in_training(store: EventStore) -> dict[str, np.ndarray]:
    """Table -> whether each code occurs in an event or a sample of training."""
    training = store.time < store.boundaries[0]
    seen: dict[str, np.ndarray] = {}
    for field in store.schema.static:
        codes = [samples.static[field.name] for samples in store.samples.values()]
        same = [
            store.events[f.name] for f in store.schema.sequence if f.table == field.table and f.name in store.events
        ]
        known = np.zeros(1 + max(int(part.max(initial=0)) for part in (*codes, *same)), dtype=bool)
        known[store.samples["train"].static[field.name]] = True
        for part in same:
            known[part[training]] = True
        if field.table in seen:  # several static fields of one table
            short, long = sorted((seen[field.table], known), key=len)
            long[: len(short)] |= short
            known = long
        if field.table == USER_TABLE:
            users = np.flatnonzero(_users_in_training(store)) + FIRST_ID
            known = np.pad(known, (0, max(0, int(users.max(initial=0)) + 1 - len(known))))
            known[users] = True
        seen[field.table] = known
    return seen


def show(store: EventStore, console: Console) -> None:
    """Prints the facts about every split, what was wrong with the raw file, and what trivial rules reach."""
    counts = store.manifest["counts"]
    console.print(f"[bold]{store.folder}[/]  data hash {store.data_hash}", soft_wrap=True)
    users = len(np.unique(store.users_of))
    console.print(f"{counts['events']:,} events of {users:,} users; histories of up to {store.schema.length}")
    facts = {split: split_facts(store, split) for split in SPLITS}
    console.print(_split_table(facts), _defect_table(store), _table_sizes(store))
    console.print(_rule_table(store, facts))


def _split_table(facts: Mapping[str, SplitFacts]) -> Table:
    table = Table(title="Samples", title_justify="left")
    for column in ("", *facts):
        table.add_column(column, justify="left" if not column else "right")
    every = list(facts.values())
    table.add_row("rows", *(f"{fact.rows:,}" for fact in every))
    table.add_row("click rate", *(f"{fact.click_rate:.4f}" for fact in every))
    for name in QUANTILES:
        table.add_row(f"history length, {name}", *(f"{fact.lengths[name]:g}" for fact in every))
    table.add_row("empty history", *(f"{fact.empty_histories:.2%}" for fact in every))
    table.add_row("user new since training", *(f"{fact.new_users:.2%}" for fact in every))
    for field in ("item", "category"):
        if field in every[0].unseen:
            for number, kind in enumerate(("positives", "negatives")):
                shares = (f"{fact.unseen[field][number]:.2%}" for fact in every)
                table.add_row(f"{field} unseen in training, {kind}", *shares)
    for field, share in every[0].rowless.items():
        if share or any(fact.rowless[field] for fact in every):
            table.add_row(f"{field} read as unknown", *(f"{fact.rowless[field]:.2%}" for fact in every))
    return table


def _defect_table(store: EventStore) -> Table | str:
    defects = store.defects
    if not defects.rows:
        return "No raw file: nothing was dropped."
    table = Table(title=f"Bad rows, of {defects.rows:,}", title_justify="left")
    table.add_column("kind")
    columns = {"dropped": defects.dropped, "corrected": defects.corrected, "incomplete": defects.incomplete}
    for column in columns:
        table.add_column(column, justify="right")
    for kind in {**defects.dropped, **defects.corrected, **defects.incomplete}:
        table.add_row(kind, *(f"{kinds.get(kind, 0):,}" for kinds in columns.values()))
    return table


def _table_sizes(store: EventStore) -> Table:
    table = Table(title="Embedding tables", title_justify="left")
    table.add_column("table")
    table.add_column("rows, padding and unknown included", justify="right")
    for name, rows in store.schema.tables.items():
        table.add_row(name, f"{rows:,}")
    return table


def _rule_table(store: EventStore, facts: Mapping[str, SplitFacts]) -> Table:
    table = Table(title="AUC of trivial rules", title_justify="left")
    table.add_column("rule")
    splits = ("validation", "test")
    for split in splits:
        table.add_column(split, justify="right")
    for rule, by_split in rule_aucs(store, splits).items():
        table.add_row(rule, *(f"{by_split[split]:.4f}" for split in splits))
    if facts["validation"].oracle is not None:
        table.add_row("oracle: no model can pass", *(f"{facts[split].oracle:.4f}" for split in splits))
    return table
