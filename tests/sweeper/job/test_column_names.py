"""The columns of a log may be called anything: names of files, modules and keys follow from them."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from mdaf.data.store.event_store import EventStore
from tests.data.layouts import ITEM, RATING, ROWS, TIME, USER
from tests.sweeper.inside import run

TINY = ("model=din", "device=cpu", "training.epochs=1", "training.batch_size=128", "hydra.run.dir=run")
OF_ITEM = ["type", "items", "item.brand", "price/unit", "a b", 'qu"ote']
OF_CONTEXT = ["a,b", "#h", "keys", "forward", "null", ".."]


def test_columns_may_be_called_anything(tmp_path: Path) -> None:
    names = [*OF_ITEM, *OF_CONTEXT]
    columns = {name: [f"v{(n % 13 + place) % 5}" for n in range(ROWS)] for place, name in enumerate(names)}
    label = [int(rating > 3) for rating in RATING]
    pl.DataFrame({"user": USER, "item": ITEM, "time": TIME, "label": label, **columns}).write_csv(tmp_path / "x.csv")
    item, context = (",".join(map(json.dumps, listed)) for listed in (OF_ITEM, OF_CONTEXT))
    fields = (f"data.item_fields=[{item}]", f"data.context_fields=[{context}]", "data.columns.label=label")
    assert run(tmp_path, "data=event_log", "data.path=x.csv", *fields, *TINY, tiny=()) == 0
    (folder,) = (tmp_path / "runs/stores").glob("event_log-*")
    store = EventStore.open(folder)
    own = [field.name for field in store.schema.static if field.name not in ("user", "item", "hour", "weekday")]
    assert own[:5] == ["type", "items", "item.brand", "price_unit", "a b"]
    assert [len(store.vocabulary(name)) for name in own] == [5] * len(names)
