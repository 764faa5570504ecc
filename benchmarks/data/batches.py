"""Measures batches: how fast they come, how much of them is padding, and what bucketing spares in training.

On a CPU seconds are those of the processor, which other work on the same machine hardly changes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
import torch
from omegaconf import DictConfig
from torch.utils.data import DataLoader, Dataset

from mdaf.data.store.device_store import DeviceStore
from mdaf.data.store.epoch_order import epoch_order
from mdaf.data.store.event_store import EventStore
from mdaf.sweeper.training.building.from_config import build_replicas, hyperparameters, settings
from mdaf.sweeper.training.stepping.step import Stepper

BATCH = 2048
WINDOWS = (0, 8, 32, 128)  # batches within which samples are sorted by length
TRAINED = (0, 32)  # those of them that training is measured with


def batches(store: EventStore, device: torch.device) -> None:
    """Gathering batches, beside a DataLoader over the rows of a DataFrame.

    Both use one thread. The DataLoader uses no more, and two threads of a shared machine would wait for each other.
    """
    torch.set_num_threads(1)
    gathered = DeviceStore(store, device)
    rates = {
        "gathered on the device, cut to the longest history": _rate(_gathered(gathered, None), 60, device),
        "gathered on the device, all of full length": _rate(_gathered(gathered, store.schema.length), 60, device),
        "gathered from memory-mapped files": _rate(_gathered(DeviceStore(store, device, 0.0), None), 20, device),
        "DataLoader over DataFrame rows": _rate(_loaded(store), 3, device),
    }
    print(f"### Batches of {BATCH} x {store.schema.length} from {store.folder.name}, no model\n")
    print("| way | samples/s | ratio |\n|---|---:|---:|")
    slowest = min(rates.values())
    for way, rate in rates.items():
        print(f"| {way} | {rate:,.0f} | {rate / slowest:.0f} |")
    print()


def padding(store: EventStore) -> None:
    """The share of an epoch's positions that is padding, by bucketing."""
    lengths = DeviceStore(store, "cpu").lengths("train")
    print(f"### Padded positions of an epoch of {store.folder.name}, batches of {BATCH}\n")
    print("| data.bucketing | padded |\n|---:|---:|")
    whole = 1 - float(lengths.sum()) / (len(lengths) * store.schema.length)
    print(f"| all padded to {store.schema.length} | {whole:.1%} |")
    for window in WINDOWS:
        parts = _epoch(lengths, window).split(BATCH)
        positions = sum(len(part) * int(lengths[part].max()) for part in parts)
        print(f"| {window} | {1 - float(lengths.sum()) / positions:.1%} |")
    print()


def _epoch(lengths: torch.Tensor, window: int) -> torch.Tensor:
    return epoch_order(torch.arange(len(lengths)), 42, 1, lengths=lengths, batch_size=BATCH, window=window)


def training(cfg: DictConfig, store: EventStore, device: torch.device, steps: int) -> None:
    """Training steps with and without bucketing, with the device's own micro-batch and with whole batches.

    A micro-batch holds histories of like length already, so there bucketing has less to spare.
    """
    gathered = DeviceStore(store, device)
    lengths = gathered.lengths("train").cpu()
    own = settings(cfg, device).step.micro_batch
    print(f"### {steps} training steps of {BATCH} on {store.folder.name}\n")
    print("| micro-batch | data.bucketing | seconds a step | samples/s | times plain |\n|---|---:|---:|---:|---:|")
    for micro_batch in dict.fromkeys((own, None)):
        plain = None
        for window in TRAINED:
            seconds = _step_seconds(cfg, store, gathered, _epoch(lengths, window).to(device), micro_batch, steps)
            plain = plain or seconds
            name = "whole batch" if micro_batch is None else str(micro_batch)
            figures = f"{seconds:.3f} | {BATCH / seconds:,.0f} | {plain / seconds:.2f}"
            print(f"| {name} | {window} | {figures} |", flush=True)
    print()


def _step_seconds(
    cfg: DictConfig,
    store: EventStore,
    gathered: DeviceStore,
    order: torch.Tensor,
    micro_batch: int | None,
    steps: int,
) -> float:
    """Seconds of a training step, the mean of ``steps`` that are spread over the epoch, after three that warm up."""
    device = gathered.device
    replicas = build_replicas(cfg, store, [hyperparameters(cfg)], device)
    replicas.model.train()
    stepper = Stepper(replicas, gathered, replace(settings(cfg, device).step, micro_batch=micro_batch, graphs=False))
    lengths = gathered.lengths("train")
    full = order[: len(order) // BATCH * BATCH].view(-1, BATCH)
    chosen = full[torch.linspace(0, len(full) - 1, steps + 3).long()]
    for number, part in enumerate(chosen):
        if number == 3:
            begun = _now(device)
        stepper.step(part[None], number, int(lengths[part].max()))
    return (_now(device) - begun) / steps


def _now(device: torch.device) -> float:
    """Seconds: of the processor on a CPU, else on the clock once all work is done."""
    if device.type == "cpu":
        return time.process_time()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _rate(source: Iterator[int], count: int, device: torch.device) -> float:
    """Samples a second over ``count`` batches, after two that warm up."""
    for _ in range(2):
        next(source)
    begun = _now(device)
    samples = sum(next(source) for _ in range(count))
    return samples / (_now(device) - begun)


def _gathered(store: DeviceStore, longest: int | None) -> Iterator[int]:
    epoch = 0
    while True:
        epoch += 1
        for part in epoch_order(store.rows("train"), 42, epoch).split(BATCH):
            yield len(store.gather("train", part[None], longest))


class _Rows(Dataset):
    """The earlier way: a DataFrame whose cells hold padded lists, read row by row."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        row = self.frame.iloc[number]
        return {name: torch.tensor(row[name]) for name in self.frame.columns}


def _loaded(store: EventStore, rows: int = 20_000) -> Iterator[int]:
    gathered = DeviceStore(store, "cpu")
    chosen = epoch_order(gathered.rows("train"), 42, 1)[:rows]
    batch = gathered.gather("train", chosen[None], store.schema.length)
    columns: dict[str, list] = {name: ids[0].tolist() for name, ids in (*batch.static.items(), *batch.sequence.items())}
    frame = pd.DataFrame({**columns, "label": batch.labels[0].tolist()})
    while True:
        for loaded in DataLoader(_Rows(frame), batch_size=BATCH, shuffle=True):
            yield len(loaded["label"])
