"""Workers of a sweep that sleep instead of training: a study for them, and the threads of one process."""

from __future__ import annotations

import functools
import os
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.synchronize import Barrier
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.samplers import TPESampler
from optuna.storages import get_storage
from optuna.trial import Trial, TrialState, create_trial

from benchmarks.surrogates.bowls import SPACE
from mdaf.sweeper.search.reseeding import reseed
from mdaf.sweeper.storage.opening import ServerStorage, open_storage
from mdaf.sweeper.storage.optuna_internals import add_trial, suggest, trial_id_of
from mdaf.sweeper.trials.leases import Leases, lease, this_process
from mdaf.sweeper.trials.trials import Trials
from mdaf.sweeper.trials.user_attrs import LEASE_EXPIRES, WORKER

AT_START = ("job", "run_dir", "config_hash", "data_hash", "commit", "seed", "device", "versions", "effective")
AT_END = ("best_epoch", "train_auc", "train_val_gap", "gate_mean", "epoch_seconds", "outcome")
EPOCHS = 3


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
