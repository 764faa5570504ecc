"""The same work on 1, 2, 4 and 8 GPUs of one host: ``python -m benchmarks.gpus``. Prints Markdown.

Three works, each as a user types it: a grid of seeds, Phase 4 of four points on five seeds each, and a race; with
``--works ray`` a grid of seeds by Ray's launcher too. Each runs twice with a single short epoch before: once to compile
kernels (``--warm`` leaves it out), and once to measure the start and the end of its processes, which ``trained`` is
without. ``busy`` is the share of the time in which kernels ran on a GPU, as nvidia-smi samples it. ``AUC`` is the most
by which the best validation AUC of a run differs from that of the same run on the first number of GPUs.

``--smoke`` is the same with tiny models on a CPU, where processes take the place of GPUs.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.gpus.smoke import SMOKE
from benchmarks.gpus.works import TITLES, WORKS, Bench, Measured

COLUMNS = ("work", "GPUs", "wall, s", "times faster", "trained, s", "times faster", "busy", "AUC")


def main() -> None:
    """Measures what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpus", description=__doc__)
    parser.add_argument("overrides", nargs="*", help="of the config, say data=synthetic_taobao data.bucketing=32")
    parser.add_argument("--works", nargs="+", default=list(WORKS)[:3], choices=list(WORKS))
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seeds", type=int, default=40, help="of the grid")
    parser.add_argument("--runs", type=int, default=64, help="of the race")
    parser.add_argument("--at-once", type=int, default=16, help="runs of the race that are proposed together")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--warm", action="store_true", help="these kernels are compiled already")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_intermixed_args()
    if options.smoke:
        options.overrides = [*SMOKE, *options.overrides]
        options.seeds, options.runs, options.at_once, options.epochs = 4, 4, 2, 1
    print(f"{' '.join(options.overrides)}; {options.epochs} epochs\n")
    print("| " + " | ".join(COLUMNS) + " |\n|---|" + "---:|" * (len(COLUMNS) - 1), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options)
        for work in options.works:
            first: Measured | None = None
            for gpus in options.gpus:
                found = bench.measured(WORKS[work], gpus)
                first = first or found
                faster = f"{first.trained / found.trained:.2f}" if found.trained > 0 else ""
                differs = found.difference(first)
                cells = [str(gpus), f"{found.whole:.1f}", f"{first.whole / found.whole:.2f}", f"{found.trained:.1f}"]
                cells += [faster, found.busy, "" if differs is None else f"{differs:.5f}"]
                print(f"| {TITLES[work].format(**vars(options))} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
