"""What users of hydra-optuna-sweeper rely on, asked of that sweeper and of this one: the same answers from both."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra._internal.utils import run_and_report
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

import mdaf
from mdaf.errors import UserError
from mdaf.sweeper.search import presets
from mdaf.sweeper.trials.points.space import wanted
from tests.sweeper.sphere import PARAMS, dependent, sphere, sweep, two_objectives

LESS_OFTEN = ("cmaes", "nsgaii", "nsgaiii", "gp", "qmc")  # samplers


@pytest.fixture(params=[pytest.param("optuna", marks=pytest.mark.slow), "study"])
def sweeper(request: pytest.FixtureRequest) -> str:
    """The name of upstream's sweeper, whose version is pinned and which is asked by name, then of this one."""
    return str(request.param)


# ---- configs that were written for upstream

# As hyperparameter searches of public templates write it: in a file of its own, with the class of upstream's sweeper.
WRITTEN_FOR_UPSTREAM = """
defaults:
  - _self_
  - override hydra/sweeper: {group}

hydra:
  mode: MULTIRUN
  sweeper:
    _target_: hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper
    storage: null
    study_name: null
    n_jobs: 1
    direction: maximize
    n_trials: 3
    sampler:
      _target_: optuna.samplers.TPESampler
      seed: 1234
      n_startup_trials: 10
    params:
      x: interval(0.0001, 0.1)
      y: choice(32, 64, 128, 256)
"""


@pytest.mark.parametrize("typed", [(), ("hydra.sweeper._target_=" + presets.UPSTREAM,)])
def test_a_config_with_upstreams_class_works_once_the_group_is_switched(
    tmp_path: Path, sweeper: str, typed: tuple[str, ...]
) -> None:
    swept = sweep(tmp_path, *typed, config=WRITTEN_FOR_UPSTREAM.format(group=sweeper), sweeper=sweeper, stored=False)
    assert sorted(swept.jobs) == [0, 1, 2]
    assert swept.results.best_value == max(sphere(job) for job in swept.jobs.values())
    assert ("best_trial" in swept.results) == (sweeper == "study")  # ours says more, so the class was ours


def test_upstreams_group_keeps_upstreams_class_beside_this_package(tmp_path: Path) -> None:
    swept = sweep(tmp_path, *FEW, sweeper="optuna", stored=False)
    assert "best_trial" not in swept.results


def test_another_class_is_not_taken_for_upstreams(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"Unknown plugin class : 'mine\.Sweeper'"):
        sweep(tmp_path, *FEW, "hydra.sweeper._target_=mine.Sweeper", stored=False)


@pytest.mark.parametrize(
    ("described", "written"),
    [
        ("{type: float, low: -5.5, high: 5.5, step: 0.5}", "range(-5.5,6.0,step=0.5)"),
        ("{type: float, low: 1, high: 5}", "interval(1,5)"),
        ("{type: float, low: 1, high: 5, log: true}", "tag(log,interval(1,5))"),
        ("{type: int, low: 1, high: 5}", "range(1,6)"),
        ("{type: int, low: 1, high: 5, step: 2}", "range(1,7,step=2)"),
        ("{type: int, low: 1, high: 5, log: true}", "tag(log,int(interval(1,5)))"),
        ("{type: categorical, choices: [-5, 0, five]}", "choice(-5,0,five)"),
    ],
)
def test_the_old_search_space_is_refused_with_the_params_to_write(tmp_path: Path, described: str, written: str) -> None:
    with pytest.raises(UserError, match=r"write hydra\.sweeper\.params=") as refused:
        sweep(tmp_path, f"+hydra.sweeper.search_space={{x: {described}}}", stored=False)
    assert str(refused.value).endswith(f"={{x: '{written}'}}")
    assert list(wanted({}, [f"x={written}"]).space) == ["x"]  # that is a space


@pytest.mark.parametrize("described", ["3", "{x: {type: discrete_uniform, q: 1}}", "{x: 1}", "null"])
def test_an_old_search_space_that_cannot_be_read_is_refused_with_how_one_is_written(
    tmp_path: Path, described: str
) -> None:
    with pytest.raises(UserError, match=r"write hydra.sweeper.params=\{KEY: 'interval\(LOW, HIGH\)'\}"):
        sweep(tmp_path, f"+hydra.sweeper.search_space={described}", stored=False)


# ---- the space


DESCRIBED: dict[str, BaseDistribution] = {
    "choice(1,2)": CategoricalDistribution([1, 2]),
    "choice(true,false)": CategoricalDistribution([True, False]),
    "choice(hello,world)": CategoricalDistribution(["hello", "world"]),
    "range(1,3)": IntDistribution(1, 2),
    "range(0.5,5.5,step=1)": FloatDistribution(0.5, 4.5, step=1),
    "interval(1,5)": FloatDistribution(1, 5),
    "int(interval(1,5))": IntDistribution(1, 5),
    "tag(log,interval(1,5))": FloatDistribution(1, 5, log=True),
    "tag(log,int(interval(1,5)))": IntDistribution(1, 5, log=True),
}


def test_an_override_becomes_the_distribution_that_it_describes(tmp_path: Path, sweeper: str) -> None:
    names = dict(zip("abcdefghijkl", DESCRIBED, strict=False))
    typed = [f"+{name}={text}" for name, text in names.items()]
    swept = sweep(tmp_path, *typed, "hydra.sweeper.n_trials=1", sweeper=sweeper)
    found = {name.lstrip("+"): kind for name, kind in swept.study.trials[0].distributions.items()}
    assert found == {name: DESCRIBED[text] for name, text in names.items()}


def test_a_shuffled_range_is_a_choice_of_its_members(tmp_path: Path, sweeper: str) -> None:
    swept = sweep(tmp_path, "x=shuffle(range(1,4))", "hydra.sweeper.n_trials=1", sweeper=sweeper)
    distribution = swept.study.trials[0].distributions["x"]
    assert isinstance(distribution, CategoricalDistribution)
    assert set(distribution.choices) == {1, 2, 3}


def test_params_of_the_config_are_searched(tmp_path: Path, sweeper: str) -> None:
    swept = sweep(tmp_path, "hydra.sweeper.n_trials=3", config=PARAMS, sweeper=sweeper)
    assert len(swept.jobs) == 3
    for number, trial in enumerate(swept.study.trials):
        assert set(trial.params) == {"x", "y"}
        assert trial.params["x"] % 0.5 == 0
        assert (swept.jobs[number].x, swept.jobs[number].y) == (trial.params["x"], trial.params["y"])
        assert trial.value == sphere(swept.jobs[number])


def test_what_lies_inside_params_and_known_points_may_refer_to_other_keys(tmp_path: Path, sweeper: str) -> None:
    typed = ["y=0.25", "+hydra.sweeper.params={x: 'interval(0,${y})'}", "hydra.sweeper.n_trials=1"]
    known = ["hydra.sweeper.enqueue={known: {x: '${y}'}}"] if sweeper == "study" else []
    trial = sweep(tmp_path, *typed, *known, sweeper=sweeper).study.trials[0]
    assert trial.distributions["x"] == FloatDistribution(0, 0.25)
    assert trial.params["x"] == 0.25 or not known


def test_overrides_of_the_command_line_win_over_params_of_the_config(tmp_path: Path, sweeper: str) -> None:
    swept = sweep(tmp_path, "x=choice(0,1,2)", "y=0", "~z", "hydra.sweeper.n_trials=3", config=PARAMS, sweeper=sweeper)
    for job in swept.jobs.values():
        assert job.x in (0, 1, 2)
        assert job.y == 0
        assert "z" not in job
    assert {name for trial in swept.study.trials for name in trial.params} == {"x"}


def test_a_key_that_the_config_lacks_can_be_searched(tmp_path: Path, sweeper: str) -> None:
    swept = sweep(tmp_path, "+w=interval(0.0,1.0)", "hydra.sweeper.n_trials=2", sweeper=sweeper)
    assert all(0 <= job.w <= 1 for job in swept.jobs.values())


def test_a_callable_may_extend_the_space_trial_by_trial(tmp_path: Path, sweeper: str) -> None:
    swept = sweep(
        tmp_path,
        "x=interval(-1.0,1.0)",
        f"hydra.sweeper.custom_search_space={dependent.__module__}.{dependent.__name__}",
        "hydra.sweeper.n_trials=5",
        "hydra/sweeper/sampler=random",
        "hydra.sweeper.sampler.seed=123",
        sweeper=sweeper,
    )
    for number, trial in enumerate(swept.study.trials):
        job = swept.jobs[number]
        assert abs(job.x - job.y) <= 0.25
        assert ("w" in job) == ("+w" in trial.params) == (trial.params["x"] > 0)
    assert {len(trial.params) for trial in swept.study.trials} == {2, 3}


# ---- what a sweep leaves


def test_the_results_file_holds_the_best_point_and_its_value(tmp_path: Path, sweeper: str) -> None:
    swept = sweep(tmp_path, "x=choice(1,2,3)", "hydra.sweeper.n_trials=3", config=PARAMS, sweeper=sweeper)
    best = swept.study.best_trial
    assert swept.results.name == "optuna"
    assert dict(swept.results.best_params) == best.params
    assert swept.results.best_value == best.value == min(trial.values[0] for trial in swept.study.trials)


def test_of_several_objectives_the_results_file_holds_points_that_do_not_dominate_each_other(
    tmp_path: Path, sweeper: str
) -> None:
    swept = sweep(
        tmp_path,
        "x=range(0,5)",
        "y=range(0,3)",
        "hydra.sweeper.direction=[minimize,minimize]",
        "hydra/sweeper/sampler=random",
        "hydra.sweeper.sampler.seed=123",
        "hydra.sweeper.n_trials=6",
        task=two_objectives,
        sweeper=sweeper,
    )
    solutions = list(swept.results.solutions)
    assert len(solutions) > 1
    for one in solutions:
        assert set(one.params) == {"x", "y"}
        for other in solutions:
            no_worse = all(a <= b for a, b in zip(one["values"], other["values"], strict=True))
            assert not (no_worse and list(one["values"]) != list(other["values"]))


def test_without_a_storage_the_study_lives_in_memory_and_the_results_file_is_left(tmp_path: Path, sweeper: str) -> None:
    swept = sweep(tmp_path, "x=interval(-1.0,1.0)", "hydra.sweeper.n_trials=3", sweeper=sweeper, stored=False)
    assert len(swept.jobs) == 3
    assert -1 <= swept.results.best_params.x <= 1
    assert not (tmp_path / "s.db").exists()


def test_a_sweep_returns_nothing_and_searches_nothing_if_it_is_not_asked_to(tmp_path: Path, sweeper: str) -> None:
    swept = sweep(tmp_path, "hydra.sweeper.n_trials=5", "hydra.sweeper.n_jobs=3", sweeper=sweeper, stored=False)
    assert swept.returned is None
    assert sorted(swept.jobs) == list(range(5))


def test_jobs_run_in_the_sweeps_folder_under_their_numbers(tmp_path: Path, sweeper: str) -> None:
    swept = sweep(tmp_path, "x=interval(-1.0,1.0)", "hydra.sweeper.n_trials=2", sweeper=sweeper)
    assert {folder.name for folder in swept.folder.iterdir() if folder.is_dir()} == {"0", "1"}
    assert all(len(overrides) == 1 and overrides[0].startswith("x=") for overrides in swept.overrides.values())


# ---- samplers


@pytest.mark.parametrize(
    "sampler", ["tpe", "random", "grid", *(pytest.param(name, marks=pytest.mark.slow) for name in LESS_OFTEN)]
)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_every_sampler_of_upstream_is_chosen_by_its_name(tmp_path: Path, sweeper: str, sampler: str) -> None:
    settings = [f"hydra/sweeper/sampler={sampler}", "hydra.sweeper.sampler.seed=7", "hydra.sweeper.n_trials=2"]
    swept = sweep(tmp_path, *settings, "x=range(-2,3)", "y=range(-2,3)", sweeper=sweeper)
    assert [trial.state for trial in swept.study.trials] == [TrialState.COMPLETE] * 2
    assert all(-2 <= trial.params["x"] <= 2 for trial in swept.study.trials)


def test_a_grid_has_as_many_trials_as_points_and_repeats_none(tmp_path: Path, sweeper: str) -> None:
    swept = sweep(tmp_path, "hydra/sweeper/sampler=grid", "x=choice(-1,1)", "y=range(-1,2)", sweeper=sweeper)
    points = [(job.x, job.y) for job in swept.jobs.values()]
    assert len(points) == len(set(points)) == 6
    assert swept.results.best_value == 1


def test_a_grid_ends_at_n_trials(tmp_path: Path, sweeper: str) -> None:
    space = ("hydra/sweeper/sampler=grid", "x=choice(-1,1)", "y=range(-1,2)")
    assert len(sweep(tmp_path, *space, "hydra.sweeper.n_trials=2", sweeper=sweeper).jobs) == 2


def test_a_grid_of_an_interval_is_refused(tmp_path: Path, sweeper: str) -> None:
    with pytest.raises(ValueError, match=r"discrete|counted"):
        sweep(tmp_path, "hydra/sweeper/sampler=grid", "x=interval(0.0,1.0)", sweeper=sweeper)


def test_the_sampler_that_optuna_dropped_is_said_to_be_dropped(tmp_path: Path, sweeper: str) -> None:
    with pytest.raises((HydraException, ValueError), match="'motpe' sampler was removed"):
        sweep(tmp_path, "hydra/sweeper/sampler=motpe", "x=interval(0.0,1.0)", sweeper=sweeper)


def test_the_same_seed_gives_the_same_points(tmp_path: Path, sweeper: str) -> None:
    settings = ("x=interval(-1.0,1.0)", "hydra.sweeper.sampler.seed=3", "hydra.sweeper.n_trials=2")
    runs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        runs.append([t.params for t in sweep(tmp_path / name, *settings, sweeper=sweeper).study.trials])
    assert runs[0] == runs[1]
    assert len({params["x"] for params in runs[0]}) == 2


# ---- pruners


@pytest.mark.parametrize("pruner", ["none", "median", "hyperband", "wilcoxon"])
def test_every_pruner_is_chosen_by_its_name_in_any_program(tmp_path: Path, pruner: str) -> None:
    swept = sweep(tmp_path, *FEW, f"hydra/sweeper/pruner={pruner}", stored=False)
    assert len(swept.jobs) == 3


def test_a_pruner_may_be_typed_as_a_mapping(tmp_path: Path) -> None:
    typed = "hydra.sweeper.pruner={_target_: optuna.pruners.MedianPruner, n_startup_trials: 2}"
    assert len(sweep(tmp_path, *FEW, typed, stored=False).jobs) == 3


def test_a_pruner_without_a_database_is_refused_where_jobs_run_in_processes_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdaf.sweeper.search.sweep.runs_elsewhere", lambda launcher: True)  # as of joblib's launcher
    with pytest.raises(UserError, match=r"hydra\.sweeper\.storage: found null, but this launcher"):
        sweep(tmp_path, *FEW, "hydra/sweeper/pruner=median", stored=False)


# ---- failures


def failing_at(*numbers: int) -> Any:
    """A task that fails in the jobs of these numbers, counted from the first."""
    calls = iter(range(1000))

    def task(cfg: Any) -> float:
        if next(calls) in numbers:
            raise RuntimeError("cfg.error is true")
        return sphere(cfg)

    return task


def test_a_failure_ends_the_sweep_where_none_is_tolerated(tmp_path: Path, sweeper: str) -> None:
    with pytest.raises(RuntimeError, match=r"cfg\.error is true"):
        sweep(tmp_path, "x=interval(-1.0,1.0)", "hydra.sweeper.n_trials=4", task=failing_at(1), sweeper=sweeper)
    storage = f"sqlite:///{tmp_path}/s.db"
    states = [trial.state.name for trial in optuna.load_study(study_name="s", storage=storage).trials]
    assert states[:2] == ["COMPLETE", "FAIL"]


def test_a_tolerated_share_of_failures_does_not_end_the_sweep(tmp_path: Path, sweeper: str) -> None:
    swept = sweep(
        tmp_path,
        "x=interval(-1.0,1.0)",
        "hydra.sweeper.n_trials=4",
        "hydra.sweeper.n_jobs=2",
        "hydra.sweeper.max_failure_rate=0.5",
        task=failing_at(0),
        sweeper=sweeper,
        stored=False,
    )
    assert len(swept.jobs) >= 4
    assert "best_value" in swept.results


def first(value: Any, then: Any) -> Any:
    """A task whose first job returns a value, and whose others return another one."""
    values = iter((value,))

    def task(cfg: Any) -> Any:
        return next(values, then)

    return task


ONE, TWO = "hydra.sweeper.direction=minimize", "hydra.sweeper.direction=[minimize,minimize]"
FEW = ("x=interval(-1.0,1.0)", "hydra.sweeper.n_trials=3")


@pytest.mark.parametrize(
    ("direction", "returned", "then"),
    [
        *((ONE, value, 1.0) for value in (math.nan, "high")),
        *((TWO, value, [1.0, 1.0]) for value in ([1.0], [1.0, math.nan])),
        # The tests of a trial's outcome tell these apart every time, without a sweep.
        *(pytest.param(ONE, value, 1.0, marks=pytest.mark.slow) for value in (None, [1.0, 2.0])),
        *(pytest.param(TWO, value, [1.0, 1.0], marks=pytest.mark.slow) for value in (1.0, None, [1.0, 2.0, 3.0])),
    ],
)
def test_a_job_that_returns_no_usable_value_fails_its_trial_and_the_sweep_goes_on(
    tmp_path: Path, sweeper: str, direction: str, returned: Any, then: Any
) -> None:
    swept = sweep(tmp_path, *FEW, direction, task=first(returned, then), sweeper=sweeper)
    assert [trial.state.name for trial in swept.study.trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    if sweeper == "study":
        reason = swept.study.trials[0].user_attrs["error"]
        assert f"returned {returned!r}, expected" in reason or "the objective is" in reason


@pytest.mark.parametrize("value", [pytest.param(math.inf, marks=pytest.mark.slow), -math.inf])
def test_an_infinite_value_fails_its_trial_and_the_sweep_goes_on(tmp_path: Path, value: float) -> None:
    swept = sweep(tmp_path, *FEW, task=first(value, 1.0))  # upstream records it as a result, and as the best one
    assert [trial.state.name for trial in swept.study.trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert f"the objective is {value}" in swept.study.trials[0].user_attrs["error"]
    assert swept.results.best_value == 1.0


def test_an_objective_that_always_fails_ends_after_n_trials_where_all_failures_are_tolerated(
    tmp_path: Path, sweeper: str
) -> None:
    tolerant = ("x=interval(-1.0,1.0)", "hydra.sweeper.n_trials=20", "hydra.sweeper.max_failure_rate=1.0")
    with pytest.raises(ValueError, match=r"no trial completed|Record does not exist"):  # upstream asks for the best
        sweep(tmp_path, *tolerant, task=failing_at(*range(1000)), sweeper=sweeper)
    storage = f"sqlite:///{tmp_path}/s.db"
    trials = optuna.load_study(study_name="s", storage=storage).trials
    assert [trial.state for trial in trials] == [TrialState.FAIL] * 20


def test_a_failed_trial_counts_as_one_of_n_trials(tmp_path: Path, sweeper: str) -> None:
    tolerant = ("x=interval(-1.0,1.0)", "hydra.sweeper.n_trials=4", "hydra.sweeper.max_failure_rate=1.0")
    swept = sweep(tmp_path, *tolerant, task=failing_at(0, 2), sweeper=sweeper)
    assert [trial.state.name for trial in swept.study.trials] == ["FAIL", "COMPLETE", "FAIL", "COMPLETE"]


def test_another_trial_runs_in_place_of_a_failed_one_where_that_is_asked_for(tmp_path: Path) -> None:
    tolerant = ("x=interval(-1.0,1.0)", "hydra.sweeper.n_trials=2", "hydra.sweeper.max_failure_rate=1.0")
    swept = sweep(tmp_path, *tolerant, "hydra.sweeper.replace_failed=true", task=failing_at(0, 2))
    assert [trial.state.name for trial in swept.study.trials] == ["FAIL", "COMPLETE", "FAIL", "COMPLETE"]


def test_a_retry_of_a_failed_known_point_takes_its_place_among_n_trials(tmp_path: Path) -> None:
    known = "hydra.sweeper.enqueue={known: {x: 0.5}}"
    tolerant = ("x=interval(-1.0,1.0)", "hydra.sweeper.n_trials=3", "hydra.sweeper.max_failure_rate=1.0", known)
    sweep(tmp_path, *tolerant, task=failing_at(0))
    swept = sweep(tmp_path, *tolerant)  # the same command: what made it fail has been mended
    assert [trial.state.name for trial in swept.study.trials] == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert swept.study.trials[3].params == swept.study.trials[0].params == {"x": 0.5}


def test_an_error_of_omegaconf_in_another_programs_job_is_a_failure_like_any_other(
    tmp_path: Path, sweeper: str
) -> None:
    def job(cfg: DictConfig) -> float:
        return float(cfg.no_such_key if "x" in cfg and cfg.x > 0 else cfg.x)

    tolerant = ("x=choice(-1,1)", "hydra/sweeper/sampler=grid", "hydra.sweeper.max_failure_rate=1.0")
    swept = sweep(tmp_path, *tolerant, task=job, sweeper=sweeper)
    assert sorted(trial.state.name for trial in swept.study.trials[:2]) == ["COMPLETE", "FAIL"]


def test_two_directions_with_a_job_that_returns_one_number_end_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_and_report(lambda: sweep(tmp_path, *FEW, TWO, stored=False, raises=False))
    printed = capsys.readouterr().err
    assert ended.value.code == 2
    said = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert "no trial completed" in said[0]
    assert "expected 2 numbers, one for each objective" in said[0]
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("+hydra.sweeper.worker=2", "hydra.sweeper.worker: there is no such key; did you mean workers?"),
        ("hydra.sweeper.n_trials=0", "hydra.sweeper.n_trials: found 0, expected a whole number from 1"),
        ("hydra.sweeper.storage=nowhere", "nowhere"),
        ("hydra.sweeper.params={nothing: 'interval(0,1)'}", "nothing"),
        ("hydra.sweeper.params={y: 'interval(0,inf)'}", "y=interval(0,inf): expected finite bounds"),
        ("hydra.sweeper.storage=true", "hydra.sweeper.storage: found True, expected a text, or null"),
        ("hydra.sweeper.study_name=[s]", "hydra.sweeper.study_name: found ['s'], expected a text, or null"),
        ("hydra.sweeper.force=maybe", "hydra.sweeper.force: found maybe, expected true or false"),
        ("hydra.sweeper.objectives=3", "hydra.sweeper.objectives: found 3, expected a list of names, or null"),
        ("hydra.sweeper.direction=[]", "hydra.sweeper.direction: found [], expected one direction"),
        (
            "hydra.sweeper.pruner={kind: median}",
            "hydra.sweeper.pruner.kind: NopPruner has no arguments; choose another",
        ),
        ("hydra.sweeper.pruner=median", "hydra/sweeper/pruner: found median, expected one of"),
        ("+hydra.sweeper.pruner.patience=3", "hydra.sweeper.pruner.patience: NopPruner has no arguments"),
        ("+hydra.sweeper.sampler.n_startup=3", "TPESampler has no such argument; did you mean n_startup_trials?"),
        ("+hydra.sweeper.seed=3", "hydra.sweeper.seed: there is no such key; write hydra.sweeper.sampler.seed=3"),
        ("+hydra.sweeper.budget=3", "hydra.sweeper.budget: there is no such key; expected one of sampler, direction"),
    ],
)
def test_what_our_sweeper_refuses_is_one_line_in_another_program_too(
    tmp_path: Path, typed: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_and_report(lambda: sweep(tmp_path, "x=interval(0,1)", typed, stored=False, raises=False))
    printed = capsys.readouterr().err
    assert ended.value.code == 2
    assert printed.startswith("error: ")
    assert said in printed
    assert printed.count("\n") == 1


def test_an_error_of_another_programs_job_is_left_to_hydra(tmp_path: Path) -> None:
    def job(cfg: DictConfig) -> float:
        return float(cfg.no_such_key)

    with pytest.raises(ConfigAttributeError):
        sweep(tmp_path, "x=interval(0,1)", task=job, raises=False)


# ---- constraints


def with_gap(cfg: DictConfig) -> dict[str, float]:
    """A job that returns its objective and another metric by their names."""
    return {"loss": sphere(cfg), "gap": cfg.x}


CONSTRAINED = ("x=choice(0,1,2)", "hydra/sweeper/sampler=grid", "hydra.sweeper.constraints={gap: 1}")


def test_a_constraint_is_decided_by_what_the_job_returns(tmp_path: Path) -> None:
    maximize = ("hydra.sweeper.direction=maximize", "hydra.sweeper.objectives=[loss]")
    swept = sweep(tmp_path, *CONSTRAINED, *maximize, task=with_gap)
    assert {t.params["x"]: t.constraints for t in swept.study.trials} == {0: {"gap": -1}, 1: {"gap": 0}, 2: {"gap": 1}}
    assert swept.results.best_params.x == 1


def test_a_constraint_is_decided_by_what_the_job_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def task(cfg: DictConfig) -> float:
        mdaf.attach().record({"gap": cfg.x})
        return sphere(cfg)

    swept = sweep(tmp_path, *CONSTRAINED, "hydra.sweeper.direction=maximize", task=task)
    assert swept.results.best_params.x == 1
    lines = capsys.readouterr().out.splitlines()
    said = [line for line in lines if line.endswith("it breaks the constraint of gap, so it is never the best")]
    broken = [trial for trial in swept.study.trials if trial.constraints["gap"] > 0]
    assert len(said) == len(broken) > 0


def test_a_constraint_without_a_value_fails_the_trial_with_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no trial completed.*the job returned no gap and recorded none.*record"):
        sweep(tmp_path, *CONSTRAINED)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ((), "name its objectives with hydra.sweeper.objectives"),
        (("hydra.sweeper.objectives=[auc]",), "a mapping with loss, gap, which lacks the objective auc"),
    ],
)
def test_a_mapping_needs_the_names_of_its_objectives(tmp_path: Path, typed: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        sweep(tmp_path, *FEW, *typed, task=with_gap)


def feasible_below_one(trial: optuna.trial.FrozenTrial) -> tuple[float]:
    """A constraint of Optuna's own kind: it is met where it is not above zero."""
    return (trial.params["x"] - 1,)


def test_a_samplers_own_constraints_function_is_asked_for_each_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{__name__}.{feasible_below_one.__name__}"
    monkeypatch.setattr("mdaf.naming.allowed.STARTED_WITH", name)  # as by MDAF_ALLOW before the program starts
    typed = f"hydra.sweeper.sampler.constraints_func={{_target_: {name}, _partial_: true}}"
    swept = sweep(tmp_path, "x=choice(0,1,2)", "hydra.sweeper.direction=maximize", "hydra.sweeper.n_trials=8", typed)
    for trial in swept.study.trials:
        assert list(trial.constraints.values()) == [trial.params["x"] - 1]
    assert swept.results.best_params.x == 1
