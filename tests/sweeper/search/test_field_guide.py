"""What hydra-optuna-sweeper doesn't do, and what its users ask for most: a test for each, named after the behaviour.

The order is that of the list of upstream's shortcomings; the numbers are of issues that its users opened.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from optuna.samplers import TPESampler
from optuna.trial import TrialState

import mdaf
from mdaf import conf
from mdaf.errors import UserError
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.trials.attaching.link import TrialLink
from mdaf.sweeper.trials.user_attrs import RETRY_OF, TRACEBACK, WITHDRAWN
from tests.processes import Running
from tests.sweeper.sphere import sphere, sweep
from tests.sweeper.tiny import typed

X = "x=interval(-1.0,1.0)"
PRUNER = "hydra.sweeper.pruner={_target_: optuna.pruners.ThresholdPruner, upper: 0.5}"


def trials(n: int) -> str:
    return f"hydra.sweeper.n_trials={n}"


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.trials]


def patient(folder: Path, *arguments: str) -> Running:
    """A sweep, typed in ``folder``, whose first job waits until a file is there."""
    command = ["hydra/sweeper=study", "x=interval(0.0,1.0)"]
    command += ["hydra.sweeper.storage=sqlite:///studies.db", "hydra.sweeper.study_name=s", *arguments]
    return Running("tests.sweeper.patient", "-m", *command, cwd=folder)


def stored(folder: Path, name: str = "s.db") -> optuna.Study:
    return optuna.load_study(study_name="s", storage=open_storage(f"sqlite:///{folder}/{name}", create=False))


# ---- asking, blocking, pruning, stopping


@pytest.mark.slow
def test_a_worker_that_is_free_asks_for_its_next_trial_while_another_still_trains_3091_2257_2435(
    tmp_path: Path,
) -> None:
    # The job of trial 0 goes on only when trial 3 has begun: it would wait for ever if anybody waited for it.
    run = patient(tmp_path, "hydra.sweeper.workers=2", "wait_for=begun-3", "hydra.sweeper.n_trials=5")
    end = run.wait(120)
    assert end.returncode == 0, end.stderr
    trials = [trial for trial in stored(tmp_path, "studies.db").trials if WITHDRAWN not in trial.user_attrs]
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 5
    assert max(trials[:3], key=lambda trial: trial.datetime_complete or trial.datetime_start).number == 0  # type: ignore


def test_a_job_that_raises_trial_pruned_is_pruned_and_the_sweep_goes_on_1954(tmp_path: Path) -> None:
    def task(cfg: DictConfig) -> float:
        if HydraConfig.get().job.num == 1:
            raise optuna.TrialPruned
        return sphere(cfg)

    assert states(sweep(tmp_path, X, trials(3), task=task).study) == ["COMPLETE", "PRUNED", "COMPLETE"]


def test_a_job_that_reports_its_epochs_is_told_by_the_sweeps_pruner_when_to_stop_1710(tmp_path: Path) -> None:
    epochs: dict[int, int] = {}

    def task(cfg: DictConfig) -> float:
        trial = mdaf.attach()
        assert trial.number is not None
        value = [0.1, 0.9, 0.2][trial.number]
        for epoch in range(1, 4):
            epochs[trial.number] = epoch
            trial.report(epoch, value)
        return value

    swept = sweep(tmp_path, X, trials(3), PRUNER, task=task)
    assert states(swept.study) == ["COMPLETE", "PRUNED", "COMPLETE"]
    assert epochs == {0: 3, 1: 1, 2: 3}
    assert swept.study.trials[1].intermediate_values == {1: 0.9}


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        ("hydra.sweeper.target=0.3", 3),
        ("hydra.sweeper.plateau={trials: 2, epsilon: 0.0}", 5),
        ("hydra.sweeper.timeout=0", 0),
    ],
)
def test_a_sweep_may_end_before_its_trials_are_used_up(tmp_path: Path, criterion: str, expected: int) -> None:
    values = [0.9, 0.5, 0.2, 0.7, 0.6, 0.1, 0.0]
    settings = X, trials(7), criterion, "hydra.sweeper.direction=minimize"

    def task(cfg: DictConfig) -> float:
        return values[HydraConfig.get().job.num]

    if expected == 0:
        with pytest.raises(UserError, match="no trial completed"):
            sweep(tmp_path, *settings, task=task)
        return
    swept = sweep(tmp_path, *settings, task=task)
    assert len(swept.study.trials) == expected
    assert swept.results.stopped


# ---- resuming


def test_n_trials_is_the_studys_total_so_the_same_command_goes_on_3328_1679_1407(tmp_path: Path) -> None:
    assert list(sweep(tmp_path, X, trials(2)).jobs) == [0, 1]
    assert list(sweep(tmp_path, X, trials(4)).jobs) == [2, 3]
    assert list(sweep(tmp_path, X, trials(4)).jobs) == []


def test_a_trials_number_is_its_jobs_number_and_its_folders_name_and_no_folder_is_written_twice(
    tmp_path: Path,
) -> None:
    marks = []
    for total in (2, 4):
        swept = sweep(tmp_path, X, trials(total))
        for number, job in swept.jobs.items():
            mark = swept.folder / str(number) / "written-by-its-job"
            assert not mark.exists()
            mark.write_text(str(job.x))
            marks.append(mark)
    for trial, mark in zip(swept.study.trials, marks, strict=True):
        assert mark.parent.name == str(trial.number)
        assert float(mark.read_text()) == trial.params["x"]


def test_a_sweep_that_goes_on_does_not_repeat_its_random_draws(tmp_path: Path) -> None:
    settings = X, "hydra/sweeper/sampler=random", "hydra.sweeper.sampler.seed=1"
    sweep(tmp_path, *settings, trials(3))
    points = [trial.params["x"] for trial in sweep(tmp_path, *settings, trials(6)).study.trials]
    assert len(set(points)) == 6


@pytest.mark.slow
def test_after_ctrl_c_nothing_is_left_running_and_the_interrupted_point_is_tried_again(tmp_path: Path) -> None:
    command = "hydra.sweeper.n_trials=3", "wait_for=leave"
    run = patient(tmp_path, *command)
    run.wait_until(tmp_path / "begun-0")
    run.interrupt()
    run.wait(60)
    study = stored(tmp_path, "studies.db")
    assert "RUNNING" not in states(study)
    interrupted = study.trials[0]
    assert interrupted.state is TrialState.FAIL
    again = patient(tmp_path, *command).wait(120)
    assert again.returncode == 0, again.stderr
    assert sorted(states(study)) == ["COMPLETE"] * 3 + ["FAIL"]
    [retry] = [trial for trial in study.trials if trial.user_attrs.get(RETRY_OF) == interrupted.number]
    assert retry.params == interrupted.params


# ---- failures


def test_a_failure_does_not_end_the_projects_sweep_until_so_many_follow_each_other(tmp_path: Path) -> None:
    conf.register()
    with initialize_config_module("mdaf.conf"):
        cfg = compose("config", overrides=["hydra/sweeper=regularization"], return_hydra_config=True)
    assert cfg.hydra.sweeper.max_failure_rate == 1.0
    assert cfg.hydra.sweeper.max_failures == 3

    def task(cfg: DictConfig) -> float:
        if HydraConfig.get().job.num in (0, 2, 4, 5, 6):
            raise RuntimeError(f"number {HydraConfig.get().job.num}")
        return sphere(cfg)

    settings = X, trials(9), "hydra.sweeper.max_failure_rate=1.0", "hydra.sweeper.max_failures=3"
    with pytest.raises(UserError, match=r"3 trials in a row failed.*trial 4: RuntimeError: number 4.*trial 6"):
        sweep(tmp_path, *settings, task=task)
    assert [trial.number for trial in stored(tmp_path).trials if trial.state is TrialState.COMPLETE] == [1, 3]


def test_a_failed_trial_keeps_its_error_and_where_it_came_from_1513(tmp_path: Path) -> None:
    def task(cfg: DictConfig) -> float:
        if HydraConfig.get().job.num == 0:
            raise RuntimeError("the disk is gone: postgresql://me:hunter2@host/db")
        return sphere(cfg)

    swept = sweep(tmp_path, X, trials(2), "hydra.sweeper.max_failure_rate=1.0", task=task)
    failed = swept.study.trials[0]
    assert failed.state is TrialState.FAIL
    assert "in task" in failed.user_attrs[TRACEBACK]
    assert "the disk is gone" in failed.user_attrs["error"]
    assert "hunter2" not in str(failed.user_attrs)


def test_a_value_that_is_not_a_number_is_a_failure_and_not_a_result_1462_2237(tmp_path: Path) -> None:
    def task(cfg: DictConfig) -> float:
        return math.nan if HydraConfig.get().job.num == 0 else sphere(cfg)

    swept = sweep(tmp_path, X, trials(2), task=task)
    assert states(swept.study) == ["FAIL", "COMPLETE"]


def test_a_study_in_which_every_trial_failed_ends_in_one_line(tmp_path: Path) -> None:
    settings = X, trials(3), "error=true", "hydra.sweeper.max_failure_rate=1.0", "hydra.sweeper.max_failures=2"
    with pytest.raises(UserError, match="2 trials in a row failed") as error:
        sweep(tmp_path, *settings)
    assert "\n" not in str(error.value)


# ---- samplers, fixed overrides, known points


def test_tpe_has_optunas_own_defaults() -> None:
    conf.register()
    with initialize_config_module("mdaf.conf"):
        cfg = compose("config", overrides=["hydra/sweeper=regularization"], return_hydra_config=True)
    given = {name: value for name, value in cfg.hydra.sweeper.sampler.items() if value is not None}
    del given["_target_"], given["seed"]
    ours, theirs = vars(TPESampler(**given)), vars(TPESampler())
    plain = (bool, int, float, str, type(None))
    assert {n: v for n, v in ours.items() if isinstance(v, plain)} == {
        n: v for n, v in theirs.items() if isinstance(v, plain)
    }


def test_a_fixed_override_and_an_attribute_of_an_enqueued_trial_may_have_the_same_name(tmp_path: Path) -> None:
    study = optuna.create_study(study_name="s", storage=open_storage(f"sqlite:///{tmp_path}/s.db", create=True))
    study.enqueue_trial({"x": 0.25}, user_attrs={"y": "somebody's", "x": "somebody's"})
    swept = sweep(tmp_path, X, "y=0.5", trials(2))
    assert states(swept.study) == ["COMPLETE", "COMPLETE"]
    assert (swept.jobs[0].x, swept.jobs[0].y) == (0.25, 0.5)
    assert swept.study.trials[0].user_attrs["y"] == "somebody's"


def test_fixed_overrides_are_an_attribute_in_the_order_in_which_they_were_typed(tmp_path: Path) -> None:
    swept = sweep(tmp_path, "z=bar", X, "y=0.5", trials(1))
    assert swept.study.trials[0].user_attrs["overrides"] == ["z=bar", "y=0.5"]


def test_known_points_are_tried_first_and_once(tmp_path: Path) -> None:
    points = "hydra.sweeper.enqueue={weak: {x: 0.1}, strong: {x: 0.9}, outside: {x: 7.0}}"
    sweep(tmp_path, X, points, trials(1))
    swept = sweep(tmp_path, X, points, trials(3))
    assert [trial.params["x"] for trial in swept.study.trials[:2]] == [0.1, 0.9]
    assert [trial.user_attrs.get("point") for trial in swept.study.trials] == ["weak", "strong", None]


# ---- the database never lies


@pytest.mark.parametrize("order", [0, 1])
def test_a_key_that_is_searched_and_set_is_refused_before_anything_runs(tmp_path: Path, order: int) -> None:
    overrides = ["x=interval(0.0,1.0)", "++x=0.5"]
    with pytest.raises(UserError, match=r"x: is searched and also set by \+\+x=0\.5"):
        sweep(tmp_path, *overrides[:: 1 - 2 * order], trials(1))
    assert not (tmp_path / "runs").exists()


def test_a_job_whose_config_is_not_what_the_study_recorded_fails_and_says_so(tmp_path: Path) -> None:
    def task(cfg: DictConfig) -> float:
        cfg.x = 0.123
        TrialLink(f"sqlite:///{tmp_path}/s.db", "s", HydraConfig.get().job.num).check_parameters(cfg, {})
        return sphere(cfg)

    with pytest.raises(UserError, match=r"the study suggested .* but the job's config holds 0\.123"):
        sweep(tmp_path, X, trials(1), task=task)
    assert states(stored(tmp_path)) == ["FAIL"]


@pytest.mark.parametrize("seeds", ["range(0,5)", "1,2,3"])
def test_seeds_are_no_parameter_that_a_sampler_proposes(tmp_path: Path, seeds: str) -> None:
    run = typed("sweeper", "-m", "hydra/sweeper=regularization", f"seed={seeds}", cwd=tmp_path)
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].startswith("error: seed: found a range, expected one number")
    assert "python -m multirun" in run.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


# ---- constraints, objectives, storage


def test_a_point_that_violates_a_constraint_is_not_the_best(tmp_path: Path) -> None:
    def task(cfg: DictConfig) -> float:
        number = HydraConfig.get().job.num
        mdaf.attach().record({"gap": [0.3, 0.1, 0.1][number]})
        return [0.0, 0.5, 0.7][number]

    limit = "hydra.sweeper.constraints={gap: 0.2}"
    swept = sweep(tmp_path, X, trials(3), limit, task=task)
    assert (swept.results.best_trial, swept.results.best_value) == (1, 0.5)
    assert [trial.constraints["gap"] > 0 for trial in swept.study.trials] == [True, False, False]


@pytest.mark.parametrize("url", ["sqlite:///{}/deep/down/s.db", "journal:///{}/deep/down/s.log"])
def test_a_storage_is_made_where_its_url_says_and_a_sweep_goes_on_in_it(tmp_path: Path, url: str) -> None:
    storage = url.format(tmp_path)
    settings = X, f"hydra.sweeper.storage={storage}", "hydra.sweeper.study_name=t"
    sweep(tmp_path, *settings, trials(1), stored=False)
    sweep(tmp_path, *settings, trials(2), stored=False)
    study = optuna.load_study(study_name="t", storage=open_storage(storage, create=False))
    assert states(study) == ["COMPLETE", "COMPLETE"]


def test_a_storage_that_cannot_be_opened_is_one_line_without_its_password_2562_2162(tmp_path: Path) -> None:
    settings = X, "hydra.sweeper.storage='oracel://me:hunter2@host/db'", "hydra.sweeper.study_name=t"
    with pytest.raises(UserError, match=r"oracel://me:\*\*\*@host/db") as error:
        sweep(tmp_path, *settings, stored=False)
    assert "\n" not in str(error.value)
    assert "hunter2" not in str(error.value)


# ---- what a sweep leaves


def test_the_results_file_says_which_trial_won_where_it_lies_and_how_it_was_run_2828(tmp_path: Path) -> None:
    def task(cfg: DictConfig) -> float:
        mdaf.attach().record({"run_dir": HydraConfig.get().runtime.output_dir, "seed": cfg.seed})
        return sphere(cfg)

    swept = sweep(tmp_path, X, "y=0.5", "seed=7", trials(3), task=task)
    best, results = swept.study.best_trial, swept.results
    assert (results.best_trial, results.best_value) == (best.number, best.value)
    assert Path(results.run_dir) == swept.folder / str(best.number)
    assert (results.seed, results.study, results.storage) == (7, "s", swept.url)
    assert list(results.overrides) == ["y=0.5", "seed=7"]


def test_a_job_has_its_trial_at_hand_and_may_write_on_it_2293_2515(tmp_path: Path) -> None:
    def task(cfg: DictConfig) -> float:
        trial = mdaf.attach()
        trial.record({"learned": {"gate": 0.3}})
        assert trial
        assert (trial.number, trial.study_name) == (HydraConfig.get().job.num, "s")
        return sphere(cfg)

    swept = sweep(tmp_path, X, trials(1), task=task)
    assert swept.study.trials[0].user_attrs["learned"] == {"gate": 0.3}


def test_a_callback_of_hydra_gets_the_sweep_when_it_ends_311(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    def on_multirun_end(self: Any, config: DictConfig, **_: Any) -> None:
        results = OmegaConf.load(Path(config.hydra.sweep.dir) / "optimization_results.yaml")
        seen.append({"trial": results.best_trial})

    from hydra.experimental.callback import Callback

    monkeypatch.setattr(Callback, "on_multirun_end", on_multirun_end)
    callback = "+hydra.callbacks.end={_target_: hydra.experimental.callback.Callback}"
    swept = sweep(tmp_path, X, trials(2), callback)
    assert seen == [{"trial": swept.study.best_trial.number}]
