"""Replicas in lock-step beside as many solo runs: ``python -m benchmarks.replicas``. Prints Markdown.

The wall time of whole processes, start and evaluation included: K replicas in one loop, K jobs one after another in one
process, and a process for each, of which ``--solo`` are run and the rest assumed to take their mean. A run comes first
that is not measured, so that the store is prepared and kernels are compiled. Memory is that of the lock-step process at
its peak, beside what the launcher estimated.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

COLUMNS = ("K", "lock-step, s", "of one run", "one process, s", "a process each, s", "peak, GB", "estimate, GB")
_TOOK = re.compile(r"(\d+) replicas took ([\d.]+) GB at the peak; the estimate was ([\d.]+) GB")


def main() -> None:
    """Measures what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replicas", description=__doc__)
    parser.add_argument("overrides", nargs="*", help="of the config, say data=synthetic_taobao data.bucketing=32")
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 5, 8, 16])
    parser.add_argument("--solo", type=int, default=2, help="measured processes of one run")
    parser.add_argument("--sequence", type=int, default=5, help="the largest K that is run one after another")
    options = parser.parse_intermixed_args()
    print(f"{os.cpu_count()} cores, torch {torch.__version__}; {' '.join(options.overrides)}\n")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options.overrides)
        bench.seconds("warm", "replicas", 2, "training.epochs=1")
        solo = sum(bench.seconds(f"solo-{i}", "basic", 1) for i in range(options.solo)) / options.solo
        print("| " + " | ".join(COLUMNS) + " |\n|" + "---:|" * len(COLUMNS))
        for replicas in options.replicas:
            sequence = options.sequence >= replicas
            print(bench.line(replicas, solo, sequence=sequence), flush=True)


class Bench:
    """Launches of one config, each with a folder of its own below ``folder``."""

    def __init__(self, folder: Path, overrides: list[str]) -> None:
        self.folder, self.overrides = folder, overrides
        self.output = ""

    def line(self, replicas: int, solo: float, *, sequence: bool) -> str:
        """A row of the table; ``solo`` is the time of a process with one run."""
        stacked = self.seconds(f"together-{replicas}", "replicas", replicas)
        took = _TOOK.search(self.output)
        peak, estimate = (took[2], took[3]) if took else ("", "")
        one_by_one = f"{self.seconds(f'sequence-{replicas}', 'basic', replicas):.1f}" if sequence else ""
        cells = (replicas, f"{stacked:.1f}", f"{stacked / solo:.2f}", one_by_one, f"{replicas * solo:.1f}")
        return "| " + " | ".join(str(cell) for cell in (*cells, peak, estimate)) + " |"

    def seconds(self, name: str, launcher: str, replicas: int, *more: str) -> float:
        """The wall time of a process that runs so many seeds; its output is kept."""
        seeds = ",".join(str(seed) for seed in range(1, replicas + 1))
        command = [sys.executable, "-m", "sweeper", "-m", *self.overrides, *more, f"hydra/launcher={launcher}"]
        begun = time.perf_counter()
        end = subprocess.run(
            [*command, f"seed={seeds}", f"hydra.sweep.dir={self.folder / name}"], capture_output=True, text=True
        )
        seconds = time.perf_counter() - begun
        if end.returncode:
            raise SystemExit(end.stderr)
        finished = sorted((self.folder / name).glob("*/result.json"))
        assert len(finished) == replicas, f"{len(finished)} of {replicas} runs finished"
        assert all(json.loads(path.read_text())["state"] == "complete" for path in finished)
        self.output = end.stdout + end.stderr
        return seconds


if __name__ == "__main__":
    main()
