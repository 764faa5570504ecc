"""A synthetic click log whose true click probabilities are known, and so the AUC that no model can pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from data.click_log import TABLES, Periods
from data.defects import Defects
from data.errors import DataError
from data.impressions import write_impressions
from data.local_time import DAY, unix_seconds
from data.simulation import Actions, World, offset_for, simulate
from data.source import Contents, Progress, refuse_below, silent
from data.streams import stream_seed
from data.vocabulary import check_min_count
from data.writer import StoreWriter

_FOLLOW_UPS = {"cart": 0.06, "fav": 0.03, "buy": 0.02}  # what may come of a view, one second later
_APART = 3  # seconds between a user's actions, at least
_SESSIONS = 2  # a day
_DAWN, _DUSK = 7, 22  # local hours between which sessions begin


@dataclass(frozen=True)
class ClickLog:
    """A raw log: columns user, item, category, behaviour, time; and impressions with label and probability."""

    events: pl.DataFrame
    impressions: pl.DataFrame


@dataclass(frozen=True)
class Synthetic:
    """Size and shape of the log; see ``conf/data/synthetic.yaml`` for each setting."""

    length: int
    users: int
    items: int
    categories: int
    views: int
    train_rows: int
    validation_rows: int
    test_rows: int
    click_rate: float
    start: str
    train_days: int
    utc_offset_hours: float
    min_count: Mapping[str, int]
    seed: int

    name = "synthetic"

    def __post_init__(self) -> None:
        refuse_below(self, length=1, users=1, categories=2, views=0, train_days=1, seed=0)
        refuse_below(self, train_rows=1, validation_rows=1, test_rows=1)
        check_min_count(self.min_count, TABLES)
        if self.items < self.categories:
            raise DataError(f"data.items={self.items} is below data.categories={self.categories}: each needs an item")
        if not 0 < self.click_rate < 1:
            raise DataError(f"data.click_rate={self.click_rate}: expected a number between 0 and 1, ends excluded")
        unix_seconds(self.start, "start", self.utc_offset_hours)

    @cached_property
    def periods(self) -> Periods:
        """Training lasts ``train_days`` from ``start``, validation and test a day each."""
        validation = unix_seconds(self.start, "start", self.utc_offset_hours) + self.train_days * DAY
        return Periods(validation, validation + DAY, self.utc_offset_hours)

    def fingerprint(self) -> dict[str, Any]:
        """All settings: nothing else decides what is generated."""
        return {"settings": asdict(self), "inputs": []}

    def build(self, writer: StoreWriter, progress: Progress) -> Contents:
        """Generates the log and writes its store."""
        log = self.generate(progress)
        return write_impressions(
            writer,
            log.events,
            log.impressions,
            periods=self.periods,
            length=self.length,
            min_count=self.min_count,
            defects=Defects(),
            progress=progress,
        )

    def generate(self, progress: Progress = silent) -> ClickLog:
        """The raw log, the same for the same settings. Ids are numbers from 1; they say nothing about popularity."""
        progress("planning actions", 0.0)
        world = World.make(self.seed, self.users, self.items, self.categories)
        actions = self._actions()
        shown = actions.impression
        offset = float(np.log(self.click_rate / (1 - self.click_rate)))
        for share in (0.1, 0.3):  # the first pass finds the offset that gives the wanted click rate
            progress("simulating users", share)
            outcome = simulate(world, actions, offset, self.seed)
            if share == 0.1:
                offset = offset_for(outcome.log_odds[shown], self.click_rate)
        names = np.random.default_rng(stream_seed(self.seed, "names"))
        item_id, category_id = names.permutation(self.items) + 1, names.permutation(self.categories) + 1
        rows = pl.DataFrame(
            {
                "user": actions.user + 1,
                "item": item_id[outcome.item],
                "category": category_id[outcome.category],
                "time": actions.time,
                "label": outcome.clicked,
                "probability": 1 / (1 + np.exp(-(outcome.log_odds + offset))),
            }
        )
        impressions = rows.filter(shown).with_columns(
            pl.col("label").cast(pl.UInt8), pl.col("probability").cast(pl.Float32)
        )
        return ClickLog(self._events(rows.filter(~shown | outcome.clicked)), impressions)

    def _actions(self) -> Actions:
        """Browsing steps over the whole period and the wanted number of impressions in each split."""
        generator = np.random.default_rng(stream_seed(self.seed, "actions", "times"))
        days = (self.train_days, 1, 1)
        first_days = np.cumsum((0, *days[:-1]))
        activity = np.cumsum(generator.lognormal(0.0, 0.7, self.users))
        plan = [(count, first, span, True) for count, first, span in zip(self._rows, first_days, days, strict=True)]
        plan.append((self.views, 0, sum(days), False))
        total = sum(count for count, *_ in plan)
        user = np.searchsorted(activity, generator.random(total) * activity[-1], side="right")
        day = np.concatenate([first + generator.integers(span, size=count) for count, first, span, _ in plan])
        impression = np.concatenate([np.full(count, shown) for count, *_, shown in plan])
        begins = generator.uniform(_DAWN, _DUSK, (self.users, _SESSIONS)) * 3600  # each user has habits
        session = begins[user, generator.integers(_SESSIONS, size=total)]
        second = np.minimum(session + generator.exponential(900, total), DAY - 1).astype(np.int64)
        since_start = day * DAY + second
        order = np.lexsort((since_start, user))
        user, impression = user[order], impression[order]
        since_start = _spread(user, since_start[order])
        time = since_start + unix_seconds(self.start, "start", self.utc_offset_hours)
        return Actions(user=user, time=time, hour=since_start % DAY // 3600, impression=impression)

    @property
    def _rows(self) -> tuple[int, int, int]:
        return self.train_rows, self.validation_rows, self.test_rows

    def _events(self, seen: pl.DataFrame) -> pl.DataFrame:
        """Page views and what came of some of them, one second later."""
        generator = np.random.default_rng(stream_seed(self.seed, "follow-ups"))
        draw = generator.random(len(seen))
        views = seen.select("user", "item", "category", pl.lit("pv").alias("behaviour"), "time")
        parts, low = [views], 0.0
        for behaviour, share in _FOLLOW_UPS.items():
            mine = (draw >= low) & (draw < low + share)
            low += share
            parts.append(views.filter(mine).with_columns(pl.lit(behaviour).alias("behaviour"), pl.col("time") + 1))
        return pl.concat(parts).sort("user", "time", maintain_order=True)


def _spread(user: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Moves actions of a user that are too close to each other, later; both sorted by (user, time)."""
    rank = np.arange(len(user)) * _APART
    far = np.int64(time.max(initial=0)) + rank[-1] + 1 if len(rank) else np.int64(0)  # keeps users from meeting
    return np.maximum.accumulate(user * far + time - rank) - user * far + rank
