"""Workers that sleep instead of training: ``python -m benchmarks.cluster --storage URL``. For docs/benchmarks.md.

Each worker does to the study what a worker of a sweep does: claims a trial, asks the sampler, writes a job's
attributes, reports, holds a lease, tells the result. Between asking and telling it sleeps. When a run begins, every
worker already has a trial, and a random part of the trial's time is over. Many worker threads share a process, its
cache of the study and a few connections. ``--idle`` opens further connections for each worker, as workers in processes
of their own would.

The server must be PostgreSQL on this machine, so that the processor time of its processes can be read.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Sequence

import numpy as np
import optuna

from benchmarks.cluster.postgres import Server
from benchmarks.cluster.workers import Load, Seen, begin, prepare
from mdaf.sweeper.storage.opening import open_storage

HEADINGS = "workers, s a trial, asks/s offered, asks/s done, ask p50 ms, p99 ms, tell p50 ms, p99 ms, workers' ms, "
HEADINGS += "server's ms, cores busy, transactions, connections, failed"


def main() -> None:
    """Runs the loads one after the other and prints a row for each; figures by trial are ms of processor time."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--storage", required=True, metavar="URL", help="a PostgreSQL database of this machine")
    parser.add_argument("--loads", nargs="+", default=["10x20", "100x60", "1000x600"], metavar="WORKERSxSECONDS")
    parser.add_argument("--window", type=float, default=60.0, metavar="SECONDS", help="that a load is watched")
    parser.add_argument("--settle", type=float, default=30.0, metavar="SECONDS", help="before it is watched")
    parser.add_argument("--processes", type=int, default=8, help="that share the workers")
    parser.add_argument("--history", type=int, default=200, metavar="N", help="finished trials of the study")
    parser.add_argument("--idle", type=int, default=1, metavar="N", help="further connections a worker keeps open")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print(f"| {' | '.join(HEADINGS.split(', '))} |\n|{'---:|' * len(HEADINGS.split(', '))}")
    for text in options.loads:
        workers, _, seconds = text.partition("x")
        load = Load(int(workers), float(seconds), options.settle, options.window)
        print(simulate(options.storage, load, options.processes, options.history, options.idle), flush=True)


def simulate(url: str, load: Load, processes: int, history: int, idle: int) -> str:
    """One row of the table."""
    name = f"simulated-{load.workers}-{load.trial:g}-{time.time():.0f}"
    prepare(url, name, load, history)
    context = multiprocessing.get_context("spawn")
    count = min(processes, load.workers)
    barrier, answers = context.Barrier(count + 1), context.SimpleQueue()
    started = [
        context.Process(
            target=begin, args=(url, name, load, range(k, load.workers, count), idle, barrier, answers), daemon=True
        )
        for k in range(count)
    ]
    for process in started:
        process.start()
    barrier.wait()
    time.sleep(load.settle)
    before = Server.read(url)
    time.sleep(load.window)
    after = Server.read(url)
    barrier.wait()
    seen = [answers.get() for _ in started]
    for process in started:
        process.join()
    optuna.delete_study(study_name=name, storage=open_storage(url, create=False))
    return row(load, seen, before, after)


def row(load: Load, seen: Sequence[Seen], before: Server, after: Server) -> str:
    """A row of the table, in Markdown."""
    asks = np.array([seconds for one in seen for seconds in one.asks])
    tells = np.array([seconds for one in seen for seconds in one.tells])
    done, window = max(len(asks), 1), load.window
    workers, server = sum(one.processor for one in seen), after.processor - before.processor
    cells = [
        f"{load.workers:,}",
        f"{load.trial:g}",
        f"{load.workers / load.trial:.2f}",
        f"{len(asks) / window:.2f}",
        *(f"{1e3 * np.percentile(asks, q):,.0f}" if len(asks) else "" for q in (50, 99)),
        *(f"{1e3 * np.percentile(tells, q):,.0f}" if len(tells) else "" for q in (50, 99)),
        f"{1e3 * workers / done:,.0f}",
        f"{1e3 * server / done:,.0f}",
        f"{(workers + server) / window:.2f}",
        f"{(after.transactions - before.transactions) / done:,.0f}",
        f"{after.connections:,}",
        f"{sum(one.failed for one in seen)}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
