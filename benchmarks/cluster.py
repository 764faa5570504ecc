"""Workers that sleep instead of training: ``python -m benchmarks.cluster --storage URL``. For docs/benchmarks.md.

Each worker does to the study what a worker of a sweep does: claims a trial, asks the sampler, writes a job's
attributes, reports, holds a lease, tells the result. Between asking and telling it sleeps. A run begins in the midst of
things: every worker has a trial already, of which a random part is over. Many threads share a process, and with it the
reader's cache and a few connections; ``--idle`` more connections a worker stay open, as those of processes would.

The server must be PostgreSQL on this machine, so that the processor time of its processes can be read.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import TPESampler
from optuna.storages import get_storage
from optuna.trial import Trial, TrialState, create_trial

from mdaf.sweeper.search.reseeding import reseed
from mdaf.sweeper.storage.opening import ServerStorage, open_storage
from mdaf.sweeper.storage.optuna_internals import add_trial, suggest, trial_id_of
from mdaf.sweeper.trials.leases import Leases, lease, this_process
from mdaf.sweeper.trials.trials import Trials
from mdaf.sweeper.trials.user_attrs import LEASE_EXPIRES, WORKER

SPACE: dict[str, BaseDistribution] = {
    "regularization.dropout": FloatDistribution(0.15, 0.35),
    "regularization.weight_decay": FloatDistribution(1e-5, 1e-4, log=True),
    "regularization.label_smoothing": FloatDistribution(0.0, 0.1),
}
AT_START = ("job", "run_dir", "config_hash", "data_hash", "commit", "seed", "device", "versions", "effective")
AT_END = ("best_epoch", "train_auc", "train_val_gap", "gate_mean", "epoch_seconds", "outcome")
EPOCHS = 3
TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Load:
    """How many workers, how long their trials are, how long they are let settle and then watched; seconds."""

    workers: int
    trial: float
    settle: float
    window: float


@dataclass
class Seen:
    """What one process saw in the window: seconds of each ask and tell, of its own work, and how many calls failed."""

    asks: list[float] = field(default_factory=list)
    tells: list[float] = field(default_factory=list)
    processor: float = 0.0
    failed: int = 0


def point(draws: random.Random) -> dict[str, float]:
    """A point of the space."""
    return {name: draws.uniform(kind.low, kind.high) for name, kind in SPACE.items()}  # type: ignore[attr-defined]


def prepare(url: str, name: str, load: Load, history: int) -> None:
    """A study with finished trials, and one that runs for each worker."""
    study = optuna.create_study(study_name=name, storage=open_storage(url, create=True), direction="maximize")
    draws = random.Random(1)
    text = dict.fromkeys((*AT_START, *AT_END), "0123456789abcdef")
    for number in range(history + load.workers):
        runs = number >= history
        held: dict[str, Any] = {**text, WORKER: this_process(), LEASE_EXPIRES: lease()}
        trial = create_trial(
            state=TrialState.RUNNING if runs else TrialState.COMPLETE,
            value=None if runs else draws.random(),
            params=point(draws),
            distributions=SPACE,
            user_attrs=held,
            intermediate_values={} if runs else {epoch: draws.random() for epoch in range(EPOCHS)},
        )
        add_trial(study, trial)


class Process:
    """The workers of one process."""

    def __init__(self, url: str, name: str, load: Load, numbers: Sequence[int], idle: int) -> None:
        options = {"pool_size": 8, "max_overflow": 0, "pool_timeout": 600, "pool_pre_ping": True}
        own = ServerStorage(url, engine_kwargs=options, skip_table_creation=True)
        self.storage, self.name, self.load, self.numbers = get_storage(own), name, load, numbers
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        self.connections = [engine.connect() for _ in range(idle * len(numbers))]
        self.leases = Leases(self.storage)
        self.seen = Seen()
        self.over = threading.Event()
        self.counting = False

    def run(self, barrier: Barrier) -> Seen:
        """Lets the workers work until the window is over."""
        study = optuna.load_study(study_name=self.name, storage=self.storage)
        running = study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
        threads = [
            threading.Thread(target=self._work, args=(number, trial_id_of(running[number])), daemon=True)
            for number in self.numbers
        ]
        with self.leases:
            barrier.wait()
            for thread in threads:
                thread.start()
            time.sleep(self.load.settle)
            before, self.counting = time.process_time(), True
            self.over.wait(self.load.window)
            self.counting = False
            self.seen.processor = time.process_time() - before
            self.over.set()
            barrier.wait()
        return self.seen

    def _work(self, number: int, trial_id: int) -> None:
        draws = random.Random(number)
        sampler = TPESampler(seed=number)
        study = optuna.load_study(study_name=self.name, storage=self.storage, sampler=sampler)
        trials = Trials(study, prepare=functools.partial(reseed, sampler, number), leases=self.leases)
        self.leases.hold(trial_id)
        trial, rest = Trial(study, trial_id), draws.uniform(0, self.load.trial)
        while not self.over.wait(rest):
            try:
                self._timed(self.seen.tells, self._tell, study, trial, draws)
                trial = self._timed(self.seen.asks, self._ask, trials)
                for key in AT_START:
                    trial.set_user_attr(key, "0123456789abcdef")
            except Exception:
                self.seen.failed += self.counting
                raise
            rest = self.load.trial

    def _timed(self, into: list[float], call: Any, *arguments: Any) -> Any:
        began = time.perf_counter()
        result = call(*arguments)
        if self.counting:
            into.append(time.perf_counter() - began)
        return result

    def _ask(self, trials: Trials) -> Trial:
        trial = trials.claim(trials.seen(), {})
        assert trial is not None
        for name, kind in SPACE.items():
            suggest(trial, name, kind)
        return trial

    def _tell(self, study: optuna.Study, trial: Trial, draws: random.Random) -> None:
        for epoch in range(EPOCHS):
            trial.report(draws.random(), epoch)
        for key in AT_END:
            trial.set_user_attr(key, "0123456789abcdef")
        study.tell(trial, draws.random())
        self.leases.release(trial_id_of(trial))


def begin(url: str, name: str, load: Load, numbers: Sequence[int], idle: int, barrier: Barrier, answers: Any) -> None:
    """What a process of the simulation does."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    answers.put(Process(url, name, load, numbers, idle).run(barrier))
    os._exit(0)  # its threads are in the middle of something


@dataclass
class Server:
    """PostgreSQL's own figures: seconds of its processor time so far, transactions so far, connections now."""

    processor: float
    transactions: int
    connections: int

    @staticmethod
    def read(url: str) -> Server:
        """Asks the server, and reads the times of its processes, those that have ended included."""
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            mine = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
            stat = "SELECT xact_commit, numbackends FROM pg_stat_database WHERE datname = current_database()"
            transactions, connections = connection.execute(sa.text(stat)).one()
            parent = int(_stat(mine)[1])
            ticks = sum(map(int, _stat(parent)[11:15]))
            for folder in Path("/proc").iterdir():
                if folder.name.isdigit() and (fields := _stat(int(folder.name))) and int(fields[1]) == parent:
                    ticks += int(fields[11]) + int(fields[12])
        return Server(ticks / TICK, transactions, connections)


def _stat(process: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none if there is no such process."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


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
    """Markdown."""
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


if __name__ == "__main__":
    main()
