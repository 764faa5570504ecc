"""Phase 4's process of one configuration, before and after: ``python -m benchmarks.phase4_process BEFORE AFTER``.

Each folder is a tree of this project that its own Python can import. A process trains five seeds in lock-step, and its
wall time from start to end is measured: a first one in each tree compiles kernels and prepares the data, then the trees
take turns. Prints Markdown: each time, the median, and how many times faster the second tree is.

``--smoke`` is the same with a tiny model on a CPU.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.gpus.smoke import SMOKE

RESEARCH = ("regularization=balanced", "data=synthetic_taobao", "data.bucketing=32", "device.precision=bf16")
SEEDS = "42,123,456,789,2024"


def main() -> None:
    """Measures both trees in turn."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.phase4_process", description=__doc__)
    parser.add_argument("before", type=Path, metavar="BEFORE", help="a folder of this project")
    parser.add_argument("after", type=Path, metavar="AFTER", help="another one")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--override", action="append", default=[], help="of the config, say data.root=/tmp/stores")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    words = [*((*SMOKE, "training.epochs=1") if options.smoke else RESEARCH), *options.override]
    times = 1 if options.smoke else options.times
    took: dict[Path, list[float]] = {tree: [] for tree in (options.before, options.after)}
    for tree in took:
        seconds(tree, [*words, "training.epochs=1", "training.steps_per_epoch=4"])
    for _ in range(times):
        for tree, measured in took.items():
            measured.append(seconds(tree, words))
    print(f"{' '.join(words)}\n\n| tree | process, s | median, s |\n|---|---|---:|")
    for name, measured in zip(("before", "after"), took.values(), strict=True):
        print(f"| {name} | {', '.join(f'{one:.1f}' for one in measured)} | {statistics.median(measured):.1f} |")
    before, after = (statistics.median(measured) for measured in took.values())
    print(f"\n{before / after:.2f} times faster")


def seconds(tree: Path, words: list[str]) -> float:
    """The wall time of a process of this tree that trains the five seeds."""
    own = tree / ".venv/bin/python"
    python = str(own.absolute()) if own.exists() else sys.executable
    with tempfile.TemporaryDirectory() as folder:
        command = [python, "-m", "sweeper", "-m", f"seed={SEEDS}", *words, "hydra/launcher=replicas"]
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}
        begun = time.perf_counter()
        end = subprocess.run(
            [*command, f"hydra.sweep.dir={folder}"], cwd=tree, env=environment, capture_output=True, text=True
        )
        took = time.perf_counter() - begun
        if end.returncode:
            raise SystemExit(f"{tree}: {' '.join(words)}\n{end.stderr[-4000:]}")
        found = len(list(Path(folder).rglob("result.json")))
        if found != len(SEEDS.split(",")):
            raise SystemExit(f"{tree}: {found} runs finished")
    return took


if __name__ == "__main__":
    main()
