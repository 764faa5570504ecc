"""The source ``synthetic``: a simulated click log. Its true click probabilities are known, so the best possible AUC is.

``simulation`` decides what users do; this module decides when, and how large the log is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from mdaf.data.new_rows.row_format import Own, RowFormat, numbers, words
from mdaf.data.preparing.impressions import write_impressions
from mdaf.data.preparing.layout import CLICK_TABLES, Periods, click_layout
from mdaf.data.preparing.raw_log import RawLog
from mdaf.data.preparing.source import Contents, check_held_out, refuse_below, settings_of
from mdaf.data.preparing.splits.rules import ByTime
from mdaf.data.reading.defects import Defects
from mdaf.data.reading.file_hashes import FileHashes
from mdaf.data.reading.local_time import DAY, unix_seconds
from mdaf.data.simulation import Actions, World, offset_for, simulate
from mdaf.data.store.event_store import USER_TABLE
from mdaf.data.store.vocabulary import check_min_count
from mdaf.data.store.writer import StoreWriter
from mdaf.errors import DataError
from mdaf.streams import stream_seed
from mdaf.terminal.progress import Progress, between, silent

_FOLLOW_UPS = {"cart": 0.06, "fav": 0.03, "buy": 0.02}  # probabilities of an action one second after a view
_SECONDS_BETWEEN = 3  # the least time between two actions of a user
_SESSIONS = 2  # for each user and day
_USERS_AT_ONCE = 1 << 16
_DAWN, _DUSK = 7, 22  # the local hours between which sessions begin


@dataclass(frozen=True)
class ClickLog:
    """A raw log: events with the columns user, item, category, behaviour, time; impressions with label, probability."""

    events: pl.DataFrame
    impressions: pl.DataFrame


class _Plan(NamedTuple):
    """The plan of a block of users: the first user, how active each is, and the block's numbers of actions.

    ``counts``  the impressions of each split, then the views.
    """

    first_user: int
    activity: np.ndarray
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Synthetic:
    """The source and its settings. ``conf/data/synthetic.yaml`` describes each setting."""

    length: int
    users: int
    items: int
    categories: int
    views: int
    views_before: int
    days_before: int
    train_rows: int
    validation_rows: int
    test_rows: int
    click_rate: float
    start: str
    train_days: int
    utc_offset_hours: float
    min_count: Mapping[str, int]
    memory_gb: float
    seed: int
    held_out_users: float = 0.0

    name = "synthetic"

    def __post_init__(self) -> None:
        refuse_below(self, length=1, users=1, categories=2, views=0, train_days=1, seed=0)
        refuse_below(self, views_before=0, days_before=min(1, self.views_before), memory_gb=0)
        refuse_below(self, train_rows=1, validation_rows=1, test_rows=1)
        check_held_out(self.held_out_users)
        check_min_count(self.min_count, CLICK_TABLES)
        if self.items < self.categories:
            raise DataError(f"data.items={self.items} is below data.categories={self.categories}: each needs an item")
        if not 0 < self.click_rate < 1:
            raise DataError(f"data.click_rate={self.click_rate}: expected a number between 0 and 1, ends excluded")
        unix_seconds(self.start, "start", self.utc_offset_hours)

    @cached_property
    def periods(self) -> Periods:
        """Training lasts ``train_days`` from ``start``; validation and test last a day each."""
        validation = unix_seconds(self.start, "start", self.utc_offset_hours) + self.train_days * DAY
        return Periods(validation, validation + DAY, self.utc_offset_hours)

    def fingerprint(self, hashes: FileHashes) -> dict[str, Any]:
        """The settings that change the store. The log depends on nothing else."""
        return {"settings": settings_of(self), "inputs": []}

    def build(self, writer: StoreWriter, progress: Progress) -> Contents:
        """Generates the log and writes its store."""
        with writer.workspace() as folder:
            layout = click_layout(self.length)
            log = RawLog(folder, layout, ByTime(self.periods, self.held_out_users))
            for part in self.parts(between(progress, 0.0, 0.5)):
                log.add_events(part.events)
                log.add_samples(part.impressions.with_columns(self.periods.moments()))
            return write_impressions(
                writer,
                log,
                folder,
                min_count=self.min_count,
                memory_gb=self.memory_gb,
                defects=Defects(),
                progress=between(progress, 0.5, 1.0),
            )

    def new_rows(self) -> RowFormat:
        """Rows with the columns user, item, time (unix seconds) and category; events with behaviour too."""
        own = {"category": Own("item", "latest")}
        ids = numbers(USER_TABLE, "item", "time", "category", optional=own)
        return RowFormat(
            rows=ids,
            events={**ids, **words({"behaviour": "behaviour"})},
            own=own,
            event_own=own,
            utc_offset_hours=self.utc_offset_hours,
        )

    def generate(self, progress: Progress = silent) -> ClickLog:
        """The whole raw log. The same settings always give the same log."""
        parts = list(self.parts(progress))
        return ClickLog(pl.concat(part.events for part in parts), pl.concat(part.impressions for part in parts))

    def parts(self, progress: Progress = silent) -> Iterator[ClickLog]:
        """The raw log, one block of users at a time. Ids are numbers from 1, in an order unrelated to popularity."""
        progress("planning actions", 0.0)
        world = World.make(self.seed, self.users, self.items, self.categories)
        names = np.random.default_rng(stream_seed(self.seed, "names"))
        item_id, category_id = names.permutation(self.items) + 1, names.permutation(self.categories) + 1
        plans = self._plans()
        offset = None
        for number, plan in enumerate(plans):
            progress("simulating users", number / len(plans))
            part_world = world.of_users(plan.first_user, plan.first_user + len(plan.activity))
            actions = self._actions(plan)
            seed = stream_seed(self.seed, "block", number)
            if offset is None:  # simulate the first block to find the offset that gives the click rate
                offset = float(np.log(self.click_rate / (1 - self.click_rate)))
                offset = offset_for(
                    simulate(part_world, actions, offset, seed).log_odds[actions.impression], self.click_rate
                )
            outcome = simulate(part_world, actions, offset, seed)
            rows = pl.DataFrame(
                {
                    "user": plan.first_user + actions.user + 1,
                    "item": item_id[outcome.item],
                    "category": category_id[outcome.category],
                    "time": actions.time,
                    "label": outcome.clicked,
                    "probability": 1 / (1 + np.exp(-(outcome.log_odds + offset))),
                }
            )
            impressions = rows.filter(actions.impression).with_columns(
                pl.col("label").cast(pl.UInt8), pl.col("probability").cast(pl.Float32)
            )
            yield ClickLog(self._events(rows.filter(~actions.impression | outcome.clicked), seed), impressions)

    def _plans(self) -> list[_Plan]:
        """Draws the number of actions of each kind for each block of users."""
        generator = np.random.default_rng(stream_seed(self.seed, "plans"))
        activity = generator.lognormal(0.0, 0.7, self.users)
        blocks = np.array_split(activity, -(-self.users // _USERS_AT_ONCE))
        weights = np.array([block.sum() for block in blocks]) / activity.sum()
        counts = np.column_stack([generator.multinomial(count, weights) for count in (*self._rows, self.views)])
        firsts = np.cumsum([0, *(len(block) for block in blocks[:-1])])
        return [
            _Plan(int(first), block, tuple(count))
            for first, block, count in zip(firsts, blocks, counts.tolist(), strict=True)
        ]

    def _actions(self, plan: _Plan) -> Actions:
        """Draws the times of a block's browsing steps, over the whole period, and of its impressions in each split."""
        generator = np.random.default_rng(stream_seed(self.seed, "actions", plan.first_user))
        users = len(plan.activity)
        *shown, views = plan.counts
        before, days = self.days_before, (self.train_days, 1, 1)
        first_days = before + np.cumsum((0, *days[:-1]))
        periods = [(count, first, span, True) for count, first, span in zip(shown, first_days, days, strict=True)]
        periods.append((views, before, sum(days), False))
        total = sum(count for count, *_ in periods)
        activity = np.cumsum(plan.activity)
        user = np.searchsorted(activity, generator.random(total) * activity[-1], side="right")
        user = np.concatenate([user, np.repeat(np.arange(users), self.views_before)])
        periods.append((users * self.views_before, 0, max(1, before), False))
        total = len(user)
        day = np.concatenate([first + generator.integers(span, size=count) for count, first, span, _ in periods])
        impression = np.concatenate([np.full(count, kind) for count, *_, kind in periods])
        begins = generator.uniform(_DAWN, _DUSK, (users, _SESSIONS)) * 3600  # the same every day
        session = begins[user, generator.integers(_SESSIONS, size=total)]
        second = np.minimum(session + generator.exponential(900, total), DAY - 1).astype(np.int64)
        since_start = day * DAY + second
        order = np.lexsort((since_start, user))
        user, impression = user[order], impression[order]
        since_start = _spread(user, since_start[order])
        time = since_start + unix_seconds(self.start, "start", self.utc_offset_hours) - before * DAY
        return Actions(user=user, time=time, hour=since_start % DAY // 3600, impression=impression)

    @property
    def _rows(self) -> tuple[int, int, int]:
        return self.train_rows, self.validation_rows, self.test_rows

    def _events(self, seen: pl.DataFrame, seed: int) -> pl.DataFrame:
        """Page views, and one second later the carts, favourites and purchases that follow some of them."""
        generator = np.random.default_rng(stream_seed(seed, "follow-ups"))
        draw = generator.random(len(seen))
        views = seen.select("user", "item", "category", pl.lit("pv").alias("behaviour"), "time")
        parts, low = [views], 0.0
        for behaviour, share in _FOLLOW_UPS.items():
            mine = (draw >= low) & (draw < low + share)
            low += share
            parts.append(views.filter(mine).with_columns(pl.lit(behaviour).alias("behaviour"), pl.col("time") + 1))
        return pl.concat(parts).sort("user", "time", maintain_order=True)


def _spread(user: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Times at which a user's actions are at least ``_SECONDS_BETWEEN`` apart: actions that are too close are delayed.

    Both arguments are sorted by (user, time).
    """
    rank = np.arange(len(user)) * _SECONDS_BETWEEN
    far = np.int64(time.max(initial=0)) + rank[-1] + 1 if len(rank) else np.int64(0)  # separates the users
    return np.maximum.accumulate(user * far + time - rank) - user * far + rank
