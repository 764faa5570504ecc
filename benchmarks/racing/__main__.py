"""What a way to decide a sweep costs and finds: ``python -m benchmarks.racing``. Markdown for docs/statistics.md.

A repetition is a search on a landscape (``benchmarks.surrogates.landscapes``), the naming of a winner, and Phase 4.
Sampler, naming and verdict are the project's own functions. The value of a run is its true value plus noise. A part of
the noise may be common to all runs of one seed. Rows may favour a configuration; other rows, such as the test split,
favour others.

``runs``      that were spent, Phase 4 included.
``regret``    how much worse the named winner truly is than the best point of the cube.
``optimism``  what is said of the winner when it is named, less what it is truly worth.
``better``    how often the winner is called better than the balanced point and truly is; ``false``: and truly is not.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
from functools import partial

from benchmarks.racing import smac
from benchmarks.racing.designs import DESIGNS, EVERY, OF_SMAC, quiet, repetition
from benchmarks.racing.tables import false_on_flat, table
from benchmarks.racing.world import Cell
from benchmarks.surrogates.landscapes import BP, LANDSCAPES

MAIN = ("fitted", "flat")  # landscapes that the claims of docs/statistics.md are about
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def main() -> None:
    """Prints a table for each cell, and the false "better" of all flat cells together."""
    options = read_options()
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))  # the matrices are small, and every process has its own core
    with multiprocessing.get_context("spawn").Pool(options.jobs, initializer=quiet) as pool:
        pending = {
            cell: {
                design: pool.map_async(partial(repetition, cell, design), repetitions_of(cell, options), chunksize=2)
                for design in options.designs
            }
            for cell in cells(options)
        }
        found = {}
        for cell, by_design in pending.items():
            found[cell] = {design: outcomes.get() for design, outcomes in by_design.items()}
            print(table(cell, found[cell]), flush=True)
    print(false_on_flat(found))


def read_options() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.racing", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument(
        "--main-repetitions", type=int, default=400, help=f"of {' and '.join(MAIN)} at the least of the noises"
    )
    parser.add_argument("--landscapes", nargs="+", choices=LANDSCAPES, default=list(LANDSCAPES))
    parser.add_argument("--noises", type=float, nargs="+", default=[10, 25, 47], metavar="BP", help="of one run")
    parser.add_argument("--common", type=float, nargs="+", default=[0.0, 0.5], help="share of a seed in the noise")
    parser.add_argument("--rows", type=float, nargs="+", default=[0.0], help="what rows do, in units of the noise")
    parser.add_argument("--rows-on", nargs="+", choices=LANDSCAPES, default=list(MAIN), help="landscapes with --rows")
    parser.add_argument("--designs", nargs="+", choices=EVERY, default=list(DESIGNS), metavar="DESIGN")
    parser.add_argument("--smac", metavar="PYTHON", help="an interpreter that has SMAC3; adds its designs")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with one thread")
    options = parser.parse_args()
    if options.smac:
        os.environ[smac.PYTHON] = options.smac
        options.designs = [*options.designs, *(name for name in OF_SMAC if name not in options.designs)]
    elif asked := [name for name in options.designs if name in OF_SMAC]:
        parser.error(f"{asked[0]}: needs --smac PYTHON, an interpreter of an environment with SMAC3")
    return options


def cells(options: argparse.Namespace) -> list[Cell]:
    """The cells of the table; those with row noise on the landscapes that were chosen for it."""
    every = itertools.product(options.landscapes, options.noises, options.common, options.rows)
    return [
        Cell(landscape, noise * BP, common, rows)
        for landscape, noise, common, rows in every
        if not rows or landscape in options.rows_on
    ]


def repetitions_of(cell: Cell, options: argparse.Namespace) -> range:
    """More where the least noise is, on the landscapes that the claims are about."""
    many = cell.landscape in MAIN and cell.noise == min(options.noises) * BP
    return range(options.main_repetitions if many else options.repetitions)


if __name__ == "__main__":
    main()
