"""A study of many trials: ``python -m benchmarks.study_at_size``. Prints Markdown for docs/benchmarks.md.

A sweep of 40 trials with jobs that record writes a database (``benchmarks.sweep``). Its trials are copied until there
are ``--trials`` of them, each with values of its own. Then each question of ``mdaf-study`` is a process.

After that a process asks for a few trials more, as a sweep does, and for as many of a study in memory that has the same
trials, as Optuna does: the difference is what the sweep adds. At the end the sweep itself goes on for a few trials:
what a trial costs its process, with a job that records and with the sampler's time.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import optuna
import sqlalchemy as sa
from optuna.samplers import TPESampler

from benchmarks.sweep.variants import ROOT, VARIANTS
from mdaf.sweeper.storage import optuna_internals as tables
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.storage.optuna_internals import suggest
from mdaf.sweeper.trials.trials import Trials

ASKS = 8
QUESTIONS = {
    "list": ["list"],
    "show": ["show"],
    "show N": ["show", "17"],
    "best --top 10": ["best", "--top", "10"],
    "trials --limit 20": ["trials", "--limit", "20"],
    "trials --format csv": ["trials", "--format", "csv"],
    "importance": ["importance"],
    "watch": ["watch"],
    "plot": ["plot", "--output", "page.html"],
}
OF_A_TRIAL = {
    "TRIAL_PARAMS": "param_id",
    "TRIAL_VALUES": "trial_value_id",
    "TRIAL_INTERMEDIATE_VALUES": "trial_intermediate_value_id",
    "TRIAL_USER_ATTRS": "trial_user_attribute_id",
    "TRIAL_SYSTEM_ATTRS": "trial_system_attribute_id",
}


def build(folder: Path, trials: int) -> str:
    """A database with one study of so many trials; its URL."""
    command = VARIANTS["this sweeper, a job that records"](folder, 40)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    url = f"sqlite:///{folder}/s.db"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        first = [dict(row) for row in connection.execute(sa.select(tables.TRIALS)).mappings()]
        held = {
            name: [dict(row) for row in connection.execute(sa.select(getattr(tables, name))).mappings()]
            for name in OF_A_TRIAL
        }
        for copy in range(1, -(-trials // len(first))):
            _copy(connection, first, held, copy, min(len(first), trials - copy * len(first)))
    engine.dispose()
    return url


def _copy(connection: sa.Connection, first: list[Any], held: dict[str, list[Any]], copy: int, count: int) -> None:
    """Adds the first ``count`` trials once more, at later times, with parameters and values next to theirs."""
    shift, later = copy * len(first), timedelta(minutes=copy)
    stream = random.Random(copy)
    chosen = [row for row in first if row["number"] < count]
    keys = {row["trial_id"] for row in chosen}
    rows = [
        row
        | {"trial_id": row["trial_id"] + shift, "number": row["number"] + shift}
        | {name: row[name] + later for name in ("datetime_start", "datetime_complete") if row[name]}
        for row in chosen
    ]
    connection.execute(sa.insert(tables.TRIALS), rows)
    for name, key in OF_A_TRIAL.items():
        factor = {"TRIAL_PARAMS": "param_value", "TRIAL_VALUES": "value"}.get(name)
        copies = [
            {column: value for column, value in row.items() if column != key}
            | {"trial_id": row["trial_id"] + shift}
            | ({factor: row[factor] * (1 - 0.002 * stream.random())} if factor else {})
            for row in held[name]
            if row["trial_id"] in keys
        ]
        if copies:
            connection.execute(sa.insert(getattr(tables, name)), copies)


def question(folder: Path, url: str, words: Sequence[str]) -> tuple[float, float, int]:
    """Seconds by the clock, seconds of the processor, and the most memory of a process that asks."""
    command = [sys.executable, "-m", "mdaf.sweeper.study", *words, "--storage", url]
    begun = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    if status:
        assert process.stderr is not None
        raise SystemExit(f"{' '.join(words)} failed: {process.stderr.read().decode()}")
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def ask_milliseconds(url: str, asks: int = ASKS) -> dict[str, float]:
    """The work of one trial more, asked for, suggested and told, in milliseconds: in a sweep and in Optuna's memory."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = open_storage(url, create=False)
    study = optuna.load_study(study_name="s", storage=storage, sampler=TPESampler(seed=1))
    before = study.get_trials(deepcopy=False)
    space = before[-1].distributions
    alone = optuna.create_study(direction=study.direction, sampler=TPESampler(seed=1))
    trials = Trials(study)

    def ours() -> optuna.trial.Trial | None:
        seen = trials.seen()
        return None if trials.is_over(seen) else trials.claim(seen, {"overrides": []})

    found: dict[str, float] = {}
    for name, one, ask in (("in a sweep", study, ours), ("in memory", alone, alone.ask)):
        times = []
        if one is alone:
            alone.add_trials(before)  # only now, as a second study in memory slows the first one down
        for _ in range(asks):
            begun = time.process_time()
            trial = ask()
            assert trial is not None
            for parameter, distribution in space.items():
                suggest(trial, parameter, distribution)
            one.tell(trial, before[0].values)
            times.append(time.process_time() - begun)
        found[name] = 1e3 * median(times)
    return found


def trial_milliseconds(folder: Path, trials: int) -> float:
    """The work of one trial more, in milliseconds of the processor: the median of a sweep that goes on for eight."""
    times = folder / "times"
    times.unlink(missing_ok=True)
    command = VARIANTS["this sweeper, a job that records"](folder, trials + 8)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return 1e3 * float(np.median(np.diff(np.loadtxt(times)[:, 1])))


def main() -> None:
    """Builds the study, asks, and goes on with it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study_at_size", description=__doc__)
    parser.add_argument("--trials", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="80 trials, one round: seconds")
    options = parser.parse_args()
    if options.smoke:
        options.trials, options.rounds = 80, 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = build(folder, options.trials)
        print("| question | seconds | of the processor | memory, GB |\n|---|---:|---:|---:|")
        for title, words in QUESTIONS.items():
            found = [question(folder, url, words) for _ in range(options.rounds)]
            clock, processor, memory = (median(column) for column in zip(*found, strict=True))
            print(f"| `{title}` | {clock:.2f} | {processor:.2f} | {memory / 1e9:.2f} |", flush=True)
        print(f"\npage of plot: {(folder / 'page.html').stat().st_size / 1e6:.1f} MB")
        for where, milliseconds in ask_milliseconds(url).items():
            print(f"asking for a trial and telling it, {where}: {milliseconds:.0f} ms of the processor")
        more = trial_milliseconds(folder, options.trials + ASKS)
        print(f"a trial more of the sweep, with its job: {more:.0f} ms of the processor")


if __name__ == "__main__":
    main()
