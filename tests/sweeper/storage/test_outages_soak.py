"""A sweep of four workers whose PostgreSQL is restarted, killed, frozen and filled up at random, for ten minutes.

By name: ``pytest -m slow tests/sweeper/storage/test_outages_soak.py``. ``MDAF_SOAK_SECONDS`` (600),
``MDAF_SOAK_SEED`` (1) and ``MDAF_SOAK_TRIALS`` (200) change it; ``MDAF_SOAK_LOG`` names the file that its log goes to.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.trials.user_attrs import WITHDRAWN
from tests.processes import Running
from tests.sweeper.postgresql import Server, breakable_server

SECONDS = float(os.environ.get("MDAF_SOAK_SECONDS", "600"))
SEED = int(os.environ.get("MDAF_SOAK_SEED", "1"))
TRIALS = int(os.environ.get("MDAF_SOAK_TRIALS", "200"))
WORKERS = 4

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * SECONDS + 900)]


def restart(server: Server, draws: random.Random) -> None:
    server.stop("fast")
    time.sleep(draws.uniform(0, 15))
    server.start()


def stop_at_once(server: Server, draws: random.Random) -> None:
    server.stop("immediate")
    time.sleep(draws.uniform(0, 5))
    server.start()


def kill_the_postmaster(server: Server, draws: random.Random) -> None:
    processes = server.processes()
    os.kill(processes[0], signal.SIGKILL)
    while any(Path(f"/proc/{process}").exists() for process in processes):  # they end when they notice
        time.sleep(0.1)
    server.start()


def kill_a_backend(server: Server, draws: random.Random) -> None:
    with server.connect() as connection:
        asked = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        found = [row[0] for row in connection.execute(asked).fetchall()]
    if found:
        with suppress(ProcessLookupError):
            os.kill(draws.choice(found), signal.SIGKILL)  # the server ends all others, and recovers


def end_all_connections(server: Server, draws: random.Random) -> None:
    end = time.monotonic() + draws.uniform(2, 8)
    while time.monotonic() < end:
        server.end_connections()
        time.sleep(0.1)


def use_up_connections(server: Server, draws: random.Random) -> None:
    with server.full():
        time.sleep(draws.uniform(3, 12))


def freeze(server: Server, draws: random.Random) -> None:
    with server.frozen():
        time.sleep(draws.choice([5, 20, 20, 70]))


FAULTS: list[Callable[[Server, random.Random], None]] = [
    restart,
    stop_at_once,
    kill_the_postmaster,
    kill_a_backend,
    end_all_connections,
    use_up_connections,
    freeze,
]


def inject(server: Server, sweep: Running, log: list[str]) -> Counter[str]:
    """Faults, one after the other, in random order but each kind as often, until the time is over or the sweep is."""
    draws, done, began = random.Random(SEED), Counter[str](), time.monotonic()
    line: list[Callable[[Server, random.Random], None]] = []
    while time.monotonic() - began < SECONDS and sweep.poll() is None:
        line = line or draws.sample(FAULTS, len(FAULTS))
        fault = line.pop()
        log.append(f"{time.monotonic() - began:6.1f} s  {fault.__name__.replace('_', ' ')}")
        server.wait()  # it may still recover from the fault before
        fault(server, draws)
        done[fault.__name__] += 1
        time.sleep(draws.uniform(1, 6))
    return done


def check(trials: list[FrozenTrial]) -> None:
    """Exactly as many finished, each in its place, none of them twice, and none lost or left."""
    states = Counter(trial.state for trial in trials)
    assert states[TrialState.COMPLETE] == TRIALS
    assert states[TrialState.RUNNING] == states[TrialState.WAITING] == 0
    assert [trial.number for trial in trials] == list(range(len(trials)))
    finished = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    points = Counter(tuple(sorted(trial.params.items())) for trial in finished)
    assert max(points.values()) == 1
    for trial in trials:
        if trial.state is TrialState.FAIL:  # only what never had a place: nothing that was begun is lost
            assert WITHDRAWN in trial.user_attrs, trial.user_attrs
    for trial in finished:
        assert set(trial.params) == {"x", "y"}
        assert sorted(trial.intermediate_values) == [1, 2, 3]


def test_a_database_that_fails_at_random_for_ten_minutes_costs_no_trial(tmp_path: Path) -> None:
    seconds_a_trial = SECONDS * WORKERS / TRIALS * 0.75  # with the faults it is as long as the faults are injected
    with breakable_server() as server:
        sweep = Running(
            "tests.sweeper.program",
            "-m",
            f"hydra.sweeper.n_trials={TRIALS}",
            f"hydra.sweeper.workers={WORKERS}",
            f"seconds={seconds_a_trial:.2f}",
            f"hydra.sweeper.storage={server.url}",
            cwd=tmp_path,
        )
        sweep.wait_until(tmp_path / "runs/studies/test/0/begun", timeout=300)
        log = [f"{SECONDS:.0f} s of faults, seed {SEED}, {WORKERS} workers, {TRIALS} trials"]
        faults = inject(server, sweep, log)
        end = sweep.wait(2 * SECONDS + 600)
        log += ["", *end.stderr.splitlines(), ""]
        storage = open_storage(server.url, create=False)
        trials = optuna.load_study(study_name="test", storage=storage).get_trials()
    waits = [float(found) for found in re.findall(r"database is back after ([\d.]+) s", end.stderr)]
    log.append("faults: " + ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in sorted(faults.items())))
    log.append("trials: " + ", ".join(f"{n} {state.name}" for state, n in Counter(t.state for t in trials).items()))
    log.append(f"waits: {len(waits)}, {sum(waits):.0f} s in all, the longest {max(waits, default=0.0):.0f} s")
    log.append(f"exit code {end.returncode}")
    Path(os.environ.get("MDAF_SOAK_LOG", tmp_path / "soak.log")).write_text("\n".join(log) + "\n")
    print("\n".join(log[-4:]))
    assert end.returncode == 0, end.stderr[-3000:]
    check(trials)
