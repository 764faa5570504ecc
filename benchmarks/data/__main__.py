"""Measures the data room: ``python -m benchmarks.data [SECTION ...]``. Prints Markdown for docs/benchmarks.md.

Sections: prepare, impressions, batches, padding, training. For the first two, raw logs are generated in a temporary
folder, prepared by the program's own command in a process of its own, whose time and memory are measured, and deleted.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import hydra
from omegaconf import DictConfig

from benchmarks.data import raw_logs
from benchmarks.data.batches import batches, padding, training
from benchmarks.data.cost import Cost, cost_of
from mdaf import conf
from mdaf.data.preparing.prepare import prepare_config
from mdaf.sweeper.machine.device import describe, set_up

SECTIONS = ("prepare", "impressions", "batches", "padding", "training")
BEHAVIOURS_EACH = 50 / 26  # of an impression


def main() -> None:
    """Runs the measurements that were asked for."""
    parser = _parser()
    options = parser.parse_args()
    sections = options.section or SECTIONS
    if unknown := set(sections) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}; sections are {', '.join(SECTIONS)}")
    cfg = _config(options)
    device = set_up(cfg.device)
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "polars", "numpy", "pandas"))
    print(f"{describe(device)}; {os.cpu_count()} cores; Python {platform.python_version()}, {versions}\n", flush=True)
    if "prepare" in sections:
        prepare([int(rows) for rows in options.rows], options.memory_gb, options.folder)
    if "impressions" in sections:
        impressions([int(rows) for rows in options.impressions], options.memory_gb, options.folder)
    if {"batches", "padding", "training"} & set(sections):
        store = prepare_config(cfg.data)
        if "padding" in sections:
            padding(store)
        if "training" in sections:
            training(cfg, store, device, options.steps)
        if "batches" in sections:
            batches(store, device)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.data", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("section", nargs="*", metavar="SECTION", help="default: all")
    parser.add_argument("--rows", type=float, nargs="+", default=[1e6, 1e7], help="of UserBehavior.csv")
    parser.add_argument("--impressions", type=float, nargs="+", default=[2.6e6], help="rows of raw_sample.csv")
    parser.add_argument("--memory-gb", type=float, default=4.0, help="data.memory_gb")
    parser.add_argument("--folder", help="where raw logs and their stores lie meanwhile; default: the system's")
    parser.add_argument("--data", default="synthetic_taobao", help="the data set of batches, padding and training")
    parser.add_argument("--device", default="auto", help="of batches and training")
    parser.add_argument("--steps", type=int, default=100, help="of training, for each figure")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="Hydra overrides, for training")
    return parser


def _config(options: argparse.Namespace) -> DictConfig:
    conf.register()
    with hydra.initialize_config_module("mdaf.conf", job_name="benchmark"):
        return hydra.compose("config", [f"data={options.data}", f"device.name={options.device}", *options.set])


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


if __name__ == "__main__":
    main()
