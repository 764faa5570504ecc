"""Leases: a trial whose process is gone is given up and tried again; one that may live is left alone."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from mdaf.processes import identity
from mdaf.processes.identity import is_gone, this_process
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.trials import leases as lease
from mdaf.sweeper.trials import retries
from mdaf.sweeper.trials.leases import Leases, LeaseWatch
from mdaf.sweeper.trials.trials import Trials
from mdaf.sweeper.trials.user_attrs import DEFAULT_MAX_DEATHS, DIED, INTERRUPTED, JOB, LEASE_EXPIRES, RETRY_OF, WORKER

SPACE = {"x": FloatDistribution(0, 1)}


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return optuna.create_study(storage=open_storage(f"sqlite:///{tmp_path}/s.db", create=True), study_name="s")


@pytest.fixture
def dead_process() -> str:
    """A process of this machine that is over, as it said itself while it lived."""
    code = "from mdaf.processes.identity import this_process; print(this_process())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def elsewhere() -> str:
    """A process of another machine."""
    return "far-away/0123abcd:4711:99"


def running(study: optuna.Study, x: float = 0.5, **attributes: Any) -> int:
    """A RUNNING trial at ``x``; its number."""
    trial = create_trial(state=TrialState.RUNNING, params={"x": x}, distributions=SPACE, user_attrs=attributes)
    study.add_trial(trial)
    return study.get_trials()[-1].number


def test_a_process_knows_itself_and_is_not_gone(dead_process: str, elsewhere: str) -> None:
    assert is_gone(this_process()) is False
    assert is_gone(dead_process) is True
    assert is_gone(elsewhere) is None
    host, pid, start = this_process().split(":")
    assert is_gone(f"{host}:{pid}:{int(start) - 1}") is True  # the id went to a later process


def test_a_killed_process_that_nobody_waited_for_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    start = identity._start_of(child.pid)
    child.kill()
    while identity._start_of(child.pid) == start:
        time.sleep(0.01)
    assert is_gone(f"{identity._host()}:{child.pid}:{start}") is True
    child.wait()


class Clock:
    """Stands in for the module ``time``."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 5e9 - self.now  # runs backwards: nothing may depend on it


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lease, "time", clock)
    return clock


def hide_starts(monkeypatch: pytest.MonkeyPatch, *, others: bool) -> None:
    """As where /proc shows each user their own processes (hidepid=2); ``others``: all processes are another user's."""

    def kill(pid: int, number: int) -> None:
        os.kill(pid, number)
        if others:
            raise PermissionError

    monkeypatch.setattr(identity, "os", types.SimpleNamespace(**{**vars(os), "kill": kill}))
    monkeypatch.setattr(identity, "_start_of", lambda pid: None)


@pytest.mark.parametrize("others", [True, False])
def test_a_living_process_that_is_hidden_is_left_to_its_lease(
    study: optuna.Study, clock: Clock, monkeypatch: pytest.MonkeyPatch, others: bool
) -> None:
    holder = this_process()
    hide_starts(monkeypatch, others=others)
    assert is_gone(holder) is None
    running(study, **{WORKER: holder, LEASE_EXPIRES: 12.0})
    watch = LeaseWatch()
    assert Trials(study).reap() == []
    for _ in range(int(lease.LEASE_SECONDS / 10)):
        assert Trials(study).reap(watch) == []
        clock.now += 10
    assert len(Trials(study).reap(watch)) == 1


def test_a_hidden_process_that_is_over_is_gone(dead_process: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hide_starts(monkeypatch, others=True)
    assert is_gone(dead_process) is True


def test_a_process_that_never_knew_its_start_is_left_to_its_lease_while_its_id_is_taken(dead_process: str) -> None:
    host, pid, _ = this_process().split(":")
    assert is_gone(f"{host}:{pid}:{identity.UNKNOWN}") is None
    host, pid, _ = dead_process.split(":")
    assert is_gone(f"{host}:{pid}:{identity.UNKNOWN}") is True


def test_where_proc_is_another_namespace_s_no_start_is_read_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_sees_our_namespace", lambda: False)
    assert this_process().endswith(f":{identity.UNKNOWN}")
    assert is_gone(this_process()) is None


@pytest.mark.parametrize("pid", ["0", "-1", "99999999999999999999", "", "self"])
def test_a_holder_that_is_no_process_is_left_to_its_lease(pid: str) -> None:
    assert is_gone(f"{identity._host()}:{pid}:99") is None


def test_a_dead_processs_trial_fails_and_its_point_waits_to_be_tried_again(
    study: optuna.Study, dead_process: str
) -> None:
    running(study, 0.25, **{WORKER: dead_process, LEASE_EXPIRES: time.time() + 100, "point": "weak"})
    [death] = Trials(study).reap()
    assert (death.number, death.retry) == (0, 1)
    dead, retry = study.trials
    assert (dead.state, dead.user_attrs[DIED]) == (TrialState.FAIL, death.reason)
    assert dead_process in death.reason
    assert (retry.state, retry.user_attrs[RETRY_OF], retry.user_attrs["point"]) == (TrialState.WAITING, 0, "weak")
    trial = study.ask(SPACE)
    assert (trial.number, trial.params) == (1, {"x": 0.25})
    assert Trials(study).reap() == []  # once per death


def test_a_living_processs_trial_is_left_alone_whatever_the_clock_says(study: optuna.Study) -> None:
    running(study, **{WORKER: this_process(), LEASE_EXPIRES: 0.0})
    assert Trials(study).reap(LeaseWatch()) == []
    assert study.trials[0].state is TrialState.RUNNING


def test_a_trial_lives_while_its_job_does_even_if_the_sweep_is_gone(study: optuna.Study, dead_process: str) -> None:
    running(study, **{WORKER: dead_process, JOB: this_process(), LEASE_EXPIRES: 0.0})
    assert Trials(study).reap(LeaseWatch()) == []


def test_another_programs_trial_is_left_alone(study: optuna.Study) -> None:
    study.ask(SPACE)
    assert Trials(study).reap(LeaseWatch()) == []
    assert study.trials[0].state is TrialState.RUNNING


def test_a_trial_of_another_machine_is_given_up_when_its_lease_stood_still_long_enough(
    study: optuna.Study, elsewhere: str, clock: Clock
) -> None:
    running(study, **{WORKER: elsewhere, LEASE_EXPIRES: 12.0})
    watch = LeaseWatch()
    for _ in range(int(lease.LEASE_SECONDS / 10)):
        assert Trials(study).reap() == []
        assert Trials(study).reap(watch) == []
        clock.now += 10
    [death] = Trials(study).reap(watch)
    assert "not renewed" in death.reason
    assert elsewhere in death.reason


def test_a_renewed_lease_counts_from_the_start_again(study: optuna.Study, elsewhere: str, clock: Clock) -> None:
    running(study, **{WORKER: elsewhere, LEASE_EXPIRES: 12.0})
    watch = LeaseWatch()
    for look in range(50):
        assert Trials(study).reap(watch) == []
        clock.now += 10
        if look % 10 == 9:
            study._storage.set_trial_user_attr(study.trials[0]._trial_id, LEASE_EXPIRES, -float(look))


def test_a_gap_between_two_looks_is_not_taken_for_a_lease_that_stood_still(
    study: optuna.Study, elsewhere: str, clock: Clock
) -> None:
    running(study, **{WORKER: elsewhere, LEASE_EXPIRES: 12.0})
    watch = LeaseWatch()
    Trials(study).reap(watch)
    clock.now += 1e6  # the database was away, or this machine slept
    assert Trials(study).reap(watch) == []


def test_a_reaper_that_died_half_way_is_made_good_by_the_next(
    study: optuna.Study, dead_process: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    running(study, 0.25, **{WORKER: dead_process, LEASE_EXPIRES: 0.0})
    assert Trials(study).give_up(study.trials[0], "gone")  # and no retry
    Trials(study).reap()
    assert len(study.trials) == 1  # the reaper may still be at it
    monkeypatch.setattr(retries, "GRACE_SECONDS", 0.0)
    Trials(study).reap()
    assert [trial.user_attrs.get(RETRY_OF) for trial in study.trials] == [None, 0]


def test_reapers_at_once_leave_one_retry_for_each_death(study: optuna.Study, dead_process: str) -> None:
    for n in range(5):
        running(study, n / 10, **{WORKER: dead_process, LEASE_EXPIRES: 0.0})
    url = str(study._storage._backend.engine.url)  # type: ignore[attr-defined]
    barrier = threading.Barrier(4)

    def reap_too() -> None:
        own = optuna.load_study(study_name="s", storage=open_storage(url, create=False))
        barrier.wait()
        Trials(own).reap()

    threads = [threading.Thread(target=reap_too) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    waiting = study.get_trials(states=[TrialState.WAITING])
    assert sorted(trial.user_attrs[RETRY_OF] for trial in waiting) == [0, 1, 2, 3, 4]


def test_a_point_that_keeps_killing_its_process_is_not_tried_for_ever(study: optuna.Study, dead_process: str) -> None:
    running(study, 0.25, **{WORKER: dead_process, LEASE_EXPIRES: 0.0})
    for _ in range(20):
        Trials(study).reap()
        if not study.get_trials(states=[TrialState.WAITING]):
            break
        trial = study.ask(SPACE)
        trial.set_user_attr(WORKER, dead_process)
        trial.set_user_attr(LEASE_EXPIRES, 0.0)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * DEFAULT_MAX_DEATHS


def test_a_point_that_is_only_interrupted_is_tried_again_however_often(study: optuna.Study, dead_process: str) -> None:
    running(study, 0.25, **{WORKER: this_process(), LEASE_EXPIRES: 0.0, "point": "weak"})
    for n in range(3 * DEFAULT_MAX_DEATHS):
        Trials(study).give_up(study.trials[-1], "the sweep was interrupted", interrupted=True)
        [retry] = Trials(study).retries.enqueue_owed(at_once=[n]).values()
        assert study.ask(SPACE).params == {"x": 0.25}
        study._storage.set_trial_user_attr(study.trials[retry]._trial_id, WORKER, dead_process)
    assert (study.trials[-1].user_attrs["interruptions"], study.trials[-1].user_attrs["point"]) == (n + 1, "weak")
    [death] = Trials(study).reap()  # and deaths are counted from the first one
    assert (study.trials[-1].user_attrs["deaths"], study.trials[-1].number) == (1, death.retry)


def test_a_death_whose_job_had_said_that_it_was_interrupted_is_none(study: optuna.Study, dead_process: str) -> None:
    running(study, **{WORKER: dead_process, LEASE_EXPIRES: 0.0, INTERRUPTED: "by SIGTERM"})
    Trials(study).reap()
    assert study.trials[1].user_attrs["interruptions"] == 1
    assert "deaths" not in study.trials[1].user_attrs


def test_a_worker_that_was_asked_to_end_and_had_to_be_killed_has_not_died(
    study: optuna.Study, dead_process: str
) -> None:
    running(study, **{WORKER: dead_process, LEASE_EXPIRES: 0.0})
    Trials(study).reap(interrupted=True)
    assert study.trials[1].user_attrs["interruptions"] == 1


@pytest.mark.parametrize(("most", "trials"), [(1, 1), (3, 3), (math.inf, 20)])
def test_how_many_deaths_a_point_may_have_is_the_studys_to_say(
    study: optuna.Study, dead_process: str, most: float, trials: int
) -> None:
    Trials(study).bound_deaths(most)
    running(study, 0.25, **{WORKER: dead_process, LEASE_EXPIRES: 0.0})
    for _ in range(19):
        Trials(study).reap()
        if not study.get_trials(states=[TrialState.WAITING]):
            break
        trial = study.ask(SPACE)
        trial.set_user_attr(WORKER, dead_process)
    assert len(study.trials) == trials


def test_a_trial_without_a_point_yet_is_not_tried_again(study: optuna.Study, dead_process: str) -> None:
    study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs={WORKER: dead_process, LEASE_EXPIRES: 0.0}))
    [death] = Trials(study).reap()
    assert death.retry is None
    assert len(study.trials) == 1


def test_leases_of_held_trials_are_renewed_in_the_background(study: optuna.Study) -> None:
    held, other = (running(study, **{WORKER: this_process(), LEASE_EXPIRES: 0.0}) for _ in range(2))
    with Leases(study._storage, every=0.01) as leases:
        leases.hold(study.trials[held]._trial_id)
        while study.trials[held].user_attrs[LEASE_EXPIRES] == 0:
            time.sleep(0.01)
    assert study.trials[held].user_attrs[LEASE_EXPIRES] > time.time()
    assert study.trials[other].user_attrs[LEASE_EXPIRES] == 0
