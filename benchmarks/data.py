"""Measures the data room: ``python -m benchmarks.data``. Prints Markdown for docs/benchmarks.md.

Raw logs are generated in a temporary folder, prepared by the program's own command in a process of its own, whose time
and memory are measured, and deleted.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import hydra
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset

import conf
from benchmarks import raw_logs
from benchmarks.cost import Cost, cost_of
from data.batches import DeviceStore, epoch_order
from data.prepare import prepare_config
from data.store import EventStore

BATCH = 2048
BEHAVIOURS_EACH = 50 / 26  # of an impression
WINDOWS = (0, 8, 32, 128)  # batches within which samples are sorted by length


def main() -> None:
    """Runs the measurements that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data", description=__doc__)
    parser.add_argument("what", nargs="*", default=["prepare", "batches"], help="prepare, impressions, batches")
    parser.add_argument("--rows", type=float, nargs="+", default=[1e6, 1e7], help="rows of prepare")
    parser.add_argument("--impressions", type=float, nargs="+", default=[2.6e6], help="rows of raw_sample.csv")
    parser.add_argument("--folder", help="where the raw logs and their stores lie meanwhile; default: the system's")
    parser.add_argument("--memory-gb", type=float, default=4.0, help="data.memory_gb")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--preset", default="synthetic_taobao", help="the store of batches")
    parser.add_argument("--root", default="runs/stores", help="where that store lies")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, torch {torch.__version__}, {_name(options.device)}\n")
    if "prepare" in options.what:
        prepare([int(rows) for rows in options.rows], options.memory_gb, options.folder)
    if "impressions" in options.what:
        impressions([int(rows) for rows in options.impressions], options.memory_gb, options.folder)
    if "batches" in options.what:
        batches(_store(options.preset, options.root), torch.device(options.device))


def _name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def prepare(sizes: list[int], memory_gb: float, folder: str | None) -> None:
    """Preparing ``UserBehavior`` rows."""
    print(f"### Preparing UserBehavior rows, data.memory_gb={memory_gb:g}\n")
    print(f"| rows | rows/s {_COST_HEAD}\n|---:|---:{_COST_RULE}")
    for rows in sizes:
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            path = Path(aside) / "UserBehavior.csv"
            raw_logs.user_behavior(path, rows)
            cost = _preparing(aside, "user_behavior", path, memory_gb)
        print(f"| {rows:,} | {rows / cost.seconds:,.0f} {_cells(cost)}", flush=True)
    print()


def impressions(sizes: list[int], memory_gb: float, folder: str | None) -> None:
    """Preparing ``raw_sample`` rows with both feature files and a behaviour log."""
    print(f"### Preparing Ali Display Ad Click, data.memory_gb={memory_gb:g}\n")
    print(f"| impressions | behaviours {_COST_HEAD}\n|---:|---:{_COST_RULE}")
    for rows in sizes:
        behaviours = round(rows * BEHAVIOURS_EACH)
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            raw_logs.taobao_ad(Path(aside), rows, behaviours)
            cost = _preparing(aside, "taobao_ad", Path(aside), memory_gb)
        print(f"| {rows:,} | {behaviours:,} {_cells(cost)}", flush=True)
    print()


_COST_HEAD = "| seconds | of the processor | peak memory, GB | its own | mapped files |"
_COST_RULE = "|---:|---:|---:|---:|---:|"


def _cells(cost: Cost) -> str:
    sizes = ("" if size is None else f"{size / 1e9:.2f}" for size in (cost.peak, cost.own, cost.mapped))
    return f"| {cost.seconds:.0f} | {cost.processor:.0f} | {' | '.join(sizes)} |"


def _preparing(folder: str, source: str, path: Path, memory_gb: float) -> Cost:
    """What a preparation costs that keeps its store below ``folder``."""
    overrides = (f"data={source}", f"data.path={path}", f"data.root={folder}/stores", f"data.memory_gb={memory_gb}")
    return cost_of([sys.executable, "-m", "data", "prepare", *overrides])


def batches(store: EventStore, device: torch.device) -> None:
    """Gathering batches, beside a DataLoader over the rows of a DataFrame; and padding by bucketing.

    With one thread: the DataLoader uses no more, and on a shared machine two that wait for each other measure that.
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
    print("\n### Padded positions of an epoch\n\n| data.bucketing | padded |\n|---:|---:|")
    lengths = gathered.lengths("train").cpu()
    whole = 1 - float(lengths.sum()) / (len(lengths) * store.schema.length)
    print(f"| all padded to {store.schema.length} | {whole:.1%} |")
    for window in WINDOWS:
        order = epoch_order(torch.arange(len(lengths)), 42, 1, lengths=lengths, batch_size=BATCH, window=window)
        positions = sum(len(part) * int(lengths[part].max()) for part in order.split(BATCH))
        print(f"| {window} | {1 - float(lengths.sum()) / positions:.1%} |")
    print()


def _rate(source: Iterator[int], count: int, device: torch.device) -> float:
    """Samples a second over ``count`` batches, after two that warm up."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for _ in range(2):
        next(source)
    wait()
    begun = time.perf_counter()
    samples = sum(next(source) for _ in range(count))
    wait()
    return samples / (time.perf_counter() - begun)


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


def _store(preset: str, root: str) -> EventStore:
    conf.register()
    with hydra.initialize_config_module("conf", job_name="benchmark"):
        node = hydra.compose("config", overrides=[f"data={preset}", f"data.root={root}"]).data
    return prepare_config(node)


if __name__ == "__main__":
    main()
