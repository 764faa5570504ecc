"""This project's side of ``benchmarks.peers``: the rows that the peers read, and our training as a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.peers.server import CONTEXT, Clock, Task, Train, serve
from benchmarks.train.steps import composed
from mdaf import conf
from mdaf.data.preparing.prepare import prepare_config
from mdaf.data.schema import PADDING
from mdaf.data.store.device_store import DeviceStore
from mdaf.data.store.epoch_order import epoch_order
from mdaf.data.store.event_store import EventStore
from mdaf.sweeper.machine.device import set_up
from mdaf.sweeper.training.building.from_config import build_replicas, hyperparameters, settings
from mdaf.sweeper.training.stepping.step import Stepper, longest_histories


def write_rows(store: EventStore, file: Path) -> None:
    """The training rows in arrays that any library can read, for ``benchmarks.peers.server``.

    ``user``, ``hour``, ``weekday``, ``label``  (rows,): ids of the row itself.
    ``user_index``, ``seq_len``, ``item_index``  (rows,): whose history it has, how many of its events come before the
                                                 row, and the candidate.
    ``events``            (events,): item indices, the histories one after the other; ``ends`` (histories,).
    ``items``, ``categories``  (item indices,): the ids of an item index, that of padding is 0.
    ``size_...``          the rows of each table.
    """
    samples, schema = store.samples["train"], store.schema
    of_item = np.zeros(1 + max(store.events["item"].max(), samples.static["item"].max()), dtype=np.int64)
    for codes in (store.events, samples.static):
        of_item[codes["item"]] = codes["category"]
    for codes in (store.events, samples.static):
        assert (of_item[codes["item"]] == codes["category"]).all(), "an item has one category"
    known = np.arange(len(of_item))
    found: dict[str, Any] = {
        **{name: samples.static[name].astype(np.int64) for name in ("user", *CONTEXT)},
        "label": samples.label.astype(np.float32),
        "user_index": samples.user.astype(np.int64),
        "seq_len": samples.end - store.user_offsets[samples.user],
        "item_index": samples.static["item"].astype(np.int64),
        "events": store.events["item"].astype(np.int64),
        "ends": store.user_offsets[1:],
        "items": _ids(known, schema.tables["item"]),
        "categories": _ids(of_item, schema.tables["category"]),
    }
    sizes = {f"size_{name}": schema.tables[name] for name in ("user", *CONTEXT, "item", "category")}
    found["categories"][PADDING] = PADDING
    arrays: dict[str, Any] = {**found, **sizes}
    np.savez_compressed(file, **arrays)


def _ids(codes: np.ndarray, rows: int) -> np.ndarray:
    return np.where(codes < rows, codes, 1)


def config(task: Task) -> DictConfig:
    """Our config of a task."""
    shared = [
        f"model={task.model.lower()}",
        "model.without=[behaviour,gap]",
        f"device={task.device}",
        f"training.batch_size={task.batch}",
        f"training.learning_rate={task.learning_rate}",
        f"regularization.dropout={task.dropout}",
    ]
    return composed([*shared, *_of_model(task.model, task.widths), *task.overrides])


def _of_model(model: str, widths: Mapping[str, Any]) -> list[str]:
    tables = f"{{item:{widths['item']},category:{widths['category']},other:{widths['other']}}}"
    head = _listed(widths["head"])
    if model == "DIN":
        return [f"model.embedding={tables}", f"model.attention={_listed(widths['attention'])}", f"model.head={head}"]
    if model == "DCNv2":
        return [
            f"model.embedding={widths['other']}",
            f"model.cross_layers={widths['crosses']}",
            f"model.deep={head}",
        ]
    hidden = widths["item"] + widths["category"]
    return [
        f"model.sequence.embedding={tables}",
        f"model.sequence.hidden={hidden}",
        f"model.sequence.heads={widths['heads']}",
        f"model.sequence.expand={widths['feed_forward'] // hidden}",
        f"model.head={head}",
    ]


def _listed(widths: Sequence[int]) -> str:
    return f"[{','.join(map(str, widths))}]"


def ours(task: Task) -> tuple[int, Train]:
    """Our model, trained as in an epoch of a run."""
    conf.register()
    cfg = config(task)
    device = set_up(cfg.device)
    store = prepare_config(cfg.data)
    batches, chosen = DeviceStore(store, device), settings(cfg, device)
    replicas = build_replicas(cfg, store, [hyperparameters(cfg)], device)
    replicas.model.train()
    stepper = Stepper(replicas, batches, chosen.step)
    stepper.rehearse(task.batch)
    lengths, rows = batches.lengths("train"), batches.rows("train")
    epochs, steps = count(1), count()

    def epoch() -> Iterator[tuple[Tensor, int]]:
        order = epoch_order(
            rows, 1, next(epochs), lengths=lengths, batch_size=task.batch, window=cfg.data.bucketing
        ).unsqueeze(0)
        longest = longest_histories(lengths, order, task.batch)
        return zip(order.split(task.batch, dim=1)[: len(rows) // task.batch], longest, strict=False)

    def train(clock: Clock) -> None:
        for chosen_rows, longest in clock.batches(epoch(), lambda step: step[0].shape[1]):
            stepper.step(chosen_rows, next(steps), longest)

    parameters = sum(p.numel() for p in replicas.model.parameters())
    if task.library == "products":
        return parameters, lambda clock: _products(clock, stepper, epoch())
    return parameters, train


def _products(clock: Clock, stepper: Stepper, epoch: Iterator[tuple[Tensor, int]]) -> None:
    """The matrix products of a step alone, with the shapes that they have there."""
    rows, longest = next(epoch)
    stepper.replicas.draw_dropout(0)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as found:
        parts = [(part.rows, part.longest) for part in stepper.micro_batches(rows)[1]]
        for part, most in parts if stepper.settings.positions else [(rows, longest)]:
            stepper.replicas.model(stepper.store.gather("train", part, most)).logits.sum().backward()
    stepper.replicas.model.zero_grad(set_to_none=True)
    device = stepper.replicas.device
    shapes = [event.input_shapes for event in found.events() or () if event.name in ("aten::bmm", "aten::baddbmm")]
    factors = [[torch.randn(shape, device=device) for shape in of_product if len(shape) == 3] for of_product in shapes]
    for _ in clock.batches(count(), lambda step: rows.shape[1]):
        for *_bias, a, b in factors:
            torch.bmm(a, b)


if __name__ == "__main__":
    serve(ours)
