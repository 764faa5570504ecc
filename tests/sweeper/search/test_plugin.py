"""The sweep, from the search space to what the study holds, with a launcher that trains nothing."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra import compose, initialize_config_module
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from optuna.trial import TrialState

from mdaf import conf
from mdaf.errors import StoppedError, UserError
from mdaf.sweeper.hydra_ext.configs.cache import ComposedAlike
from mdaf.sweeper.runs.folder import FolderError
from mdaf.sweeper.search.settings import SweepSettings
from mdaf.sweeper.search.sweep import Search
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.study.winners import rerun_overrides

DROPOUT, DECAY, SMOOTHING = (f"regularization.{name}" for name in ("dropout", "weight_decay", "label_smoothing"))


class Launcher:
    """Answers each job with ``outcome(overrides)``: a value, or an exception to fail with."""

    def __init__(self, outcome: Callable[[dict[str, str]], Any]) -> None:
        self.outcome = outcome
        self.jobs: list[dict[str, str]] = []
        self.numbers: list[int] = []

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        returns = []
        for index, overrides in enumerate(job_overrides):
            job = dict(override.split("=", 1) for override in overrides)
            self.jobs.append(job)
            self.numbers.append(initial_job_idx + index)
            result = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)
            try:
                result.return_value = self.outcome(job)
            except Exception as error:
                result.return_value, result.status = error, JobStatus.FAILED
            returns.append(result)
        return returns


def smooth(job: dict[str, str]) -> float:
    """Best at the balanced point."""
    return 0.6 - (float(job[DROPOUT]) - 0.25) ** 2 - (float(job[SMOOTHING]) - 0.05) ** 2


@functools.cache
def composed(given: tuple[str, ...]) -> DictConfig:
    return compose("config", overrides=["hydra/sweeper=regularization", *given], return_hydra_config=True)


class Sweep:
    """Sweeps into one database; ``settings`` are those of hydra/sweeper=regularization."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"journal:///{folder}/studies.log"  # the fastest storage; what is SQLite's own is tested with it

    def __call__(self, *arguments: str, outcome: Callable[[dict[str, str]], Any] = smooth, **settings: Any) -> Launcher:
        conf.register()
        launcher = Launcher(outcome)
        with initialize_config_module("mdaf.conf"):
            cfg = copy.deepcopy(composed(tuple(argument for argument in arguments if "(" not in argument)))
            search = self.search(cfg, settings)
            search.launcher = launcher  # type: ignore[assignment]
            search.sweep(list(arguments))
        return launcher

    def search(self, cfg: DictConfig, settings: dict[str, Any]) -> Search:
        node = OmegaConf.to_container(cfg.hydra.sweeper, resolve=True)
        assert isinstance(node, dict)
        node |= {"storage": self.url, "study_name": "test", "sampler": optuna.samplers.TPESampler(), "pruner": None}
        node |= settings
        seed = node.pop("sampler_seed", 1)
        del node["_target_"]
        search = Search(SweepSettings.of(node), sampler_seed=seed)
        search.config = cfg
        search.sweep_dir = str(self.folder / "runs")
        loader: Any = ComposedAlike.over(GlobalHydra.instance().config_loader())  # as its setup does
        search.hydra_context = HydraContext(loader, Callbacks())
        return search

    @property
    def study(self) -> optuna.Study:
        return optuna.load_study(study_name="test", storage=open_storage(self.url, create=False))


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(tmp_path)


def test_weak_balanced_and_strong_come_first_and_then_points_of_the_space(sweep: Sweep) -> None:
    sweep(n_trials=8)
    points = [(t.params[DROPOUT], t.params[DECAY], t.params[SMOOTHING]) for t in sweep.study.trials]
    assert points[:3] == [(0.20, 1e-5, 0.0), (0.25, 3e-5, 0.05), (0.30, 5e-5, 0.10)]
    assert len(set(points)) == 8
    for dropout, decay, smoothing in points[3:]:
        assert 0.15 <= dropout <= 0.35
        assert 1e-5 <= decay <= 1e-4
        assert 0.0 <= smoothing <= 0.10


def test_each_job_is_told_its_study_and_its_trial_and_has_its_trials_number(sweep: Sweep) -> None:
    launcher = sweep("training.epochs=2", n_trials=5, n_jobs=2)
    assert launcher.numbers == [0, 1, 2, 3, 4]
    for number, job in enumerate(launcher.jobs):
        assert (job["sweep.study"], job["sweep.trial"]) == ("test", str(number))
        assert job["training.epochs"] == "2"
        assert job["hydra.sweep.dir"] == str(sweep.folder / "runs")
        trial = sweep.study.trials[number]
        assert trial.user_attrs["overrides"] == ["seed=7", "training.epochs=2"]
        assert {name: float(job[name]) for name in trial.params} == trial.params


def test_n_trials_is_the_studys_total_so_the_same_command_goes_on(sweep: Sweep) -> None:
    assert len(sweep(n_trials=4).jobs) == 4
    assert sweep(n_trials=6).numbers == [4, 5]
    assert sweep(n_trials=6).jobs == []
    assert len(sweep.study.trials) == 6


def test_what_is_typed_narrows_fixes_or_joins_the_space(sweep: Sweep) -> None:
    launcher = sweep(
        f"{DROPOUT}=interval(0.24,0.26)",
        f"{SMOOTHING}=0.02",
        "training.learning_rate=tag(log,interval(1e-4,1e-3))",
        n_trials=5,
    )
    for job, trial in zip(launcher.jobs, sweep.study.trials, strict=True):
        assert 0.24 <= float(job[DROPOUT]) <= 0.26
        assert job[SMOOTHING] == "0.02"
        assert SMOOTHING not in trial.params
        assert 1e-4 <= trial.params["training.learning_rate"] <= 1e-3
    assert sweep.study.trials[0].params[DECAY] == 3e-5  # balanced is the only known point within the narrowed space


def test_a_group_is_searched_by_the_names_of_its_options(sweep: Sweep) -> None:
    launcher = sweep("device=choice(auto,cpu)", n_trials=6, outcome=lambda job: float(job["device"] == "cpu"))
    assert {job["device"] for job in launcher.jobs} == {"auto", "cpu"}
    assert sweep.study.best_params["device"] == "cpu"


def test_a_pruned_trial_is_pruned_and_the_sweep_goes_on(sweep: Sweep) -> None:
    def outcome(job: dict[str, str]) -> float:
        if job["sweep.trial"] == "1":
            raise optuna.TrialPruned
        return smooth(job)

    sweep(n_trials=4, outcome=outcome)
    assert [t.state for t in sweep.study.trials].count(TrialState.PRUNED) == 1
    assert len(sweep.study.trials) == 4


def test_a_failure_is_recorded_and_ends_the_sweep_unless_it_is_tolerated(sweep: Sweep) -> None:
    def outcome(job: dict[str, str]) -> float:
        if job["sweep.trial"] == "1":
            raise RuntimeError("the disk is gone")
        return smooth(job)

    with pytest.raises(RuntimeError, match="the disk is gone"):
        sweep(n_trials=4, max_failure_rate=0.0, outcome=outcome)
    assert [t.state.name for t in sweep.study.trials] == ["COMPLETE", "FAIL"]
    assert sweep.study.trials[1].user_attrs["error"]
    assert "Traceback" in sweep.study.trials[1].user_attrs["traceback"]
    sweep(n_trials=4, outcome=outcome)
    assert len(sweep.study.get_trials(states=[TrialState.COMPLETE])) == 4


def test_a_mistake_in_the_config_stops_at_the_first_trial_even_where_failures_are_tolerated(sweep: Sweep) -> None:
    def outcome(job: dict[str, str]) -> float:
        raise UserError("data.path is not set")

    with pytest.raises(UserError, match=r"data\.path"):
        sweep(n_trials=4, max_failure_rate=1.0, outcome=outcome)
    assert len(sweep.study.get_trials(states=[TrialState.FAIL])) == 1


def test_the_results_file_says_where_the_winner_lies(sweep: Sweep) -> None:
    sweep("training.epochs=2", n_trials=4)
    results = OmegaConf.load(sweep.folder / "runs/optimization_results.yaml")
    best = sweep.study.best_trial
    assert (results.best_value, results.best_trial, results.study) == (best.value, best.number, "test")
    assert dict(results.best_params) == best.params
    assert list(results.overrides) == ["seed=7", "training.epochs=2"]


def test_a_grid_is_searched_once(sweep: Sweep) -> None:
    grid = functools.partial(optuna.samplers.GridSampler, seed=0)
    space = [f"{DROPOUT}=choice(0.2,0.3)", f"{DECAY}=choice(1e-5,5e-5)", f"{SMOOTHING}=0.0"]
    launcher = sweep(*space, n_trials=30, enqueue={}, sampler=grid)
    assert {(job[DROPOUT], job[DECAY]) for job in launcher.jobs} == {
        ("0.2", "1e-05"),
        ("0.2", "5e-05"),
        ("0.3", "1e-05"),
        ("0.3", "5e-05"),
    }
    assert len(launcher.jobs) == 4
    assert sweep(*space, n_trials=30, enqueue={}, sampler=grid).jobs == []


def test_a_broken_point_does_not_end_the_sweep_but_failures_in_a_row_do(sweep: Sweep) -> None:
    def outcome(job: dict[str, str]) -> float:
        if int(job["sweep.trial"]) in (1, 3, 4, 5):
            raise RuntimeError("the disk is gone")
        return smooth(job)

    with pytest.raises(UserError, match=r"^3 trials in a row failed .* trial 3: RuntimeError: the disk is gone; "):
        sweep(n_trials=6, max_failures=3, outcome=outcome)
    assert len(sweep.study.get_trials(states=[TrialState.COMPLETE])) == 2
    sweep(n_trials=6, max_failures=3, outcome=outcome)  # what failed in an earlier sweep does not count
    assert len(sweep.study.get_trials(states=[TrialState.COMPLETE])) == 6


def failing_while(broken: dict[str, bool], error: Exception | float) -> Callable[[dict[str, str]], Any]:
    """Fails in each job while ``broken`` says so."""

    def outcome(job: dict[str, str]) -> float:
        if not broken["now"]:
            return smooth(job)
        if isinstance(error, Exception):
            raise error
        return error

    return outcome


@pytest.mark.parametrize("error", [UserError("data.path: there is no such file"), ImportError("no module polars")])
def test_known_points_that_failed_are_tried_again_by_the_mended_command(sweep: Sweep, error: Exception) -> None:
    broken = {"now": True}
    with pytest.raises(UserError):
        sweep(n_trials=5, max_failures=3, outcome=failing_while(broken, error))
    failed = len(sweep.study.trials)
    broken["now"] = False
    launcher = sweep(n_trials=5, outcome=failing_while(broken, error))
    points = [trial.user_attrs.get("point") for trial in sweep.study.trials[failed:]]
    assert points == ["weak", "balanced", "strong", None, None]
    assert len(launcher.jobs) == 5
    assert [trial.user_attrs.get("retry_of") for trial in sweep.study.trials[failed:]][:failed] == list(range(failed))
    assert sweep(n_trials=5).jobs == []


def test_a_known_point_that_fails_is_tried_again_within_a_bound(sweep: Sweep, caplog: pytest.LogCaptureFixture) -> None:
    def outcome(job: dict[str, str]) -> float:
        if (job[DROPOUT], job[DECAY]) == ("0.2", "1e-05"):
            raise RuntimeError("this one never works")
        return smooth(job)

    with caplog.at_level("INFO"):
        for n_trials in (1, 2, 3, 4, 5):
            sweep(n_trials=n_trials, max_retries=2, outcome=outcome)
    weak = [trial.number for trial in sweep.study.trials if trial.user_attrs.get("point") == "weak"]
    assert len(weak) == 3
    assert len(sweep.study.get_trials(states=[TrialState.COMPLETE])) == 5
    assert (
        "failed, and not among the results: weak (trial 0); the same command with hydra.sweeper.n_trials=2"
        in caplog.text
    )
    assert f"not tried again unless by mdaf-study retry: weak (trial {weak[-1]}): it failed 3 times" in caplog.text


def test_a_known_point_that_diverges_has_been_tried(sweep: Sweep) -> None:
    def outcome(job: dict[str, str]) -> float:
        return math.nan if job["sweep.trial"] == "0" else smooth(job)

    sweep(n_trials=2, outcome=outcome)
    sweep(n_trials=4, outcome=outcome)
    assert [t.user_attrs.get("point") for t in sweep.study.trials] == ["weak", "balanced", "strong", None, None]


def test_a_grid_that_lacks_points_says_so_with_its_exit_code_and_gets_them_when_it_goes_on(sweep: Sweep) -> None:
    grid = functools.partial(optuna.samplers.GridSampler, seed=0)
    space = [f"{DROPOUT}=choice(0.2,0.3)", f"{DECAY}=choice(1e-5,5e-5)", f"{SMOOTHING}=0.0"]

    def outcome(job: dict[str, str]) -> float:
        if job["sweep.trial"] in ("1", "3"):
            raise RuntimeError("the disk is gone")
        return smooth(job)

    with pytest.raises(
        StoppedError, match=r"^the grid lacks 2 of its 4 points.*trial 1.*trial 3.*the same command tries"
    ):
        sweep(*space, n_trials=30, enqueue={}, sampler=grid, outcome=outcome)
    assert len(sweep(*space, n_trials=30, enqueue={}, sampler=grid, outcome=outcome).jobs) == 2
    finished = sweep.study.get_trials(states=[TrialState.COMPLETE])
    assert len({(trial.params[DROPOUT], trial.params[DECAY]) for trial in finished}) == len(finished) == 4


def test_a_sweep_whose_every_trial_fails_ends_although_failures_are_not_counted_in_a_row(sweep: Sweep) -> None:
    with pytest.raises(UserError, match=r"^8 trials failed and the study is to have 4"):
        sweep(n_trials=4, max_failures=None, outcome=failing_while({"now": True}, RuntimeError("no")))


def test_a_job_that_saved_and_left_ends_the_sweep_as_an_interruption_and_its_point_is_tried_again(sweep: Sweep) -> None:
    with pytest.raises(FolderError):
        sweep(n_trials=4, outcome=failing_while({"now": True}, FolderError("last.pt: the disk is full")))
    assert [trial.state.name for trial in sweep.study.trials] == ["FAIL", "WAITING"]
    assert sweep.study.trials[1].user_attrs["interruptions"] == 1


def test_out_of_memory_is_tried_again_with_half_the_micro_batch_and_the_same_batch(sweep: Sweep) -> None:
    def outcome(job: dict[str, str]) -> float:
        if job["sweep.trial"] == "0":
            raise MemoryError
        return smooth(job)

    launcher = sweep("device.micro_batch=64", "training.batch_size=256", n_trials=2, outcome=outcome)
    failed, retry = launcher.jobs[:2]
    assert (failed["device.micro_batch"], retry["device.micro_batch"]) == ("64", "32")
    assert retry["training.batch_size"] == "256"
    assert (retry[DROPOUT], retry[DECAY], retry[SMOOTHING]) == (failed[DROPOUT], failed[DECAY], failed[SMOOTHING])
    again = sweep.study.trials[1]
    assert (again.user_attrs["retry_of"], again.user_attrs["retry_overrides"]) == (0, ["device.micro_batch=32"])
    assert len(sweep.study.get_trials(states=[TrialState.COMPLETE])) == 2


def test_a_sweep_that_is_interrupted_leaves_nothing_running_and_tries_the_point_again(sweep: Sweep) -> None:
    def outcome(job: dict[str, str]) -> float:
        if job["sweep.trial"] == "1":
            raise KeyboardInterrupt
        return smooth(job)

    with pytest.raises(KeyboardInterrupt):
        sweep(n_trials=4, outcome=outcome)
    assert [trial.state.name for trial in sweep.study.trials] == ["COMPLETE", "FAIL", "WAITING"]
    assert "interrupted" in sweep.study.trials[1].user_attrs["died"]
    launcher = sweep(n_trials=4)
    assert launcher.numbers == [2, 3, 4]
    assert launcher.jobs[0][DROPOUT] == str(sweep.study.trials[1].params[DROPOUT])


def test_a_sweep_that_goes_on_draws_what_it_would_have_drawn(tmp_path: Path) -> None:
    whole, parted = (Sweep(tmp_path / name) for name in ("whole", "parted"))
    whole(n_trials=9)
    for n_trials in (4, 7, 9):
        parted(n_trials=n_trials)
    assert [trial.params for trial in parted.study.trials] == [trial.params for trial in whole.study.trials]


@pytest.mark.parametrize(
    "kind", [optuna.samplers.TPESampler, optuna.samplers.RandomSampler, lambda: optuna.samplers.QMCSampler(seed=1)]
)
def test_a_sweep_that_was_interrupted_draws_what_it_would_have_drawn(
    tmp_path: Path, kind: Callable[[], optuna.samplers.BaseSampler]
) -> None:
    def stopped(job: dict[str, str]) -> float:
        if job["sweep.trial"] == "5":
            raise KeyboardInterrupt
        return smooth(job)

    whole, parted = (Sweep(tmp_path / name) for name in ("whole", "parted"))
    whole(n_trials=12, sampler=kind())
    with pytest.raises(KeyboardInterrupt):
        parted(n_trials=12, sampler=kind(), outcome=stopped)
    parted(n_trials=12, sampler=kind())
    points = [[t.params for t in sweep.study.get_trials(states=[TrialState.COMPLETE])] for sweep in (parted, whole)]
    assert points[0] == points[1]


def test_several_trials_a_launch_are_handed_out_together_and_fill_the_study_exactly(sweep: Sweep) -> None:
    launcher = sweep(n_trials=7, n_jobs=3)
    assert launcher.numbers == list(range(7))
    assert len(sweep.study.trials) == 7


def test_a_target_and_a_plateau_end_the_sweep_and_the_results_say_so(sweep: Sweep) -> None:
    launcher = sweep(n_trials=30, target=0.599)
    assert len(launcher.jobs) < 30
    assert sweep.study.best_value >= 0.599
    assert "target is 0.599" in OmegaConf.load(sweep.folder / "runs/optimization_results.yaml").stopped
    assert len(sweep("seed=2", n_trials=60, plateau={"trials": 5, "epsilon": 0.5}).jobs) <= 5


def test_a_space_may_depend_on_what_was_suggested(sweep: Sweep) -> None:
    launcher = sweep(
        n_trials=6, enqueue={}, custom_search_space="tests.sweeper.search.test_plugin.layers_where_dropout_is_low"
    )
    for job, trial in zip(launcher.jobs, sweep.study.trials, strict=True):
        assert ("model.sequence.layers" in job) == ("model.sequence.layers" in trial.params)
        assert ("model.sequence.layers" in job) == (float(job[DROPOUT]) < 0.25)


def layers_where_dropout_is_low(config: DictConfig, trial: optuna.Trial) -> None:
    """A conditional space."""
    if trial.params[DROPOUT] < config.regularization.dropout:
        trial.suggest_int("model.sequence.layers", 1, 3)


def test_several_objectives_end_with_their_pareto_front(sweep: Sweep) -> None:
    def outcome(job: dict[str, str]) -> tuple[float, float]:
        return smooth(job), float(job[DROPOUT])

    settings = {"direction": ["maximize", "minimize"], "objectives": ["val_auc", "train_val_gap"], "plateau": None}
    sweep(n_trials=8, outcome=outcome, **settings)
    front = OmegaConf.load(sweep.folder / "runs/optimization_results.yaml").solutions
    assert {solution.trial for solution in front} == {trial.number for trial in sweep.study.best_trials}
    values = [tuple(solution["values"]) for solution in front]
    assert not any(a[0] > b[0] and a[1] < b[1] for a in values for b in values)


def test_a_study_in_memory_can_be_swept_and_its_jobs_are_told_no_trial(sweep: Sweep) -> None:
    launcher = sweep(n_trials=3, storage=None)
    assert len(launcher.jobs) == 3
    assert "sweep.trial" not in launcher.jobs[0]


def test_a_folder_with_the_runs_of_another_study_is_refused_before_they_are_overwritten(sweep: Sweep) -> None:
    (sweep.folder / "runs/3").mkdir(parents=True)
    with pytest.raises(UserError, match=r"runs/3: is there, but study test has no trial 3"):
        sweep(n_trials=2)
    with pytest.raises(KeyError):  # no study was made
        _ = sweep.study


def test_no_more_workers_are_started_than_trials_are_missing(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    monkeypatch.setattr("mdaf.sweeper.search.running.workers.run_workers", lambda count, gpus: started.append(count))
    with pytest.raises(UserError, match="no trial completed"):  # those that were started did nothing
        sweep(n_trials=3, workers=100_000)
    assert started == [3]


def test_an_unknown_key_of_the_sweeper_is_one_line_with_the_key_that_was_meant() -> None:
    with pytest.raises(UserError, match=r"^hydra.sweeper.worker: there is no such key; did you mean workers\?"):
        SweepSettings.of({"worker": 2})
    with pytest.raises(UserError, match=r"^hydra.sweeper.plateau.trial: there is no such key; did you mean trials\?"):
        SweepSettings.of({"plateau": {"trial": 2}})
    with pytest.raises(UserError, match=r"^hydra.sweeper.params: found x=1, expected a mapping"):
        SweepSettings.of({"params": "x=1"})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"n_trials": 0}, "hydra.sweeper.n_trials: found 0, expected a whole number from 1"),
        ({"n_jobs": 1.5}, "hydra.sweeper.n_jobs: found 1.5, expected a whole number from 1"),
        ({"workers": 0}, "hydra.sweeper.workers: found 0, expected a whole number from 1"),
        ({"max_failure_rate": 2}, r"hydra.sweeper.max_failure_rate: found 2, expected a number in \[0, 1\]"),
        ({"max_failures": 0}, "sweep.max_failures: found 0, expected a whole number from 1, inf, or null"),
        ({"max_failures": 2.5}, "sweep.max_failures: found 2.5"),
        ({"max_deaths": 0}, "sweep.max_deaths: found 0, expected a whole number from 1, inf"),
        ({"max_retries": -1}, "sweep.max_retries: found -1"),
        ({"timeout": -1}, "sweep.timeout: found -1"),
        ({"plateau": {"trials": 0, "epsilon": 0}}, "sweep.plateau.trials: found 0"),
        ({"plateau": {"trials": 3, "epsilon": -1}}, "sweep.plateau.epsilon: found -1"),
        ({"direction": "maximise"}, "hydra.sweeper.direction: found maximise, expected maximize or minimize"),
        ({"direction": ["maximize", "minimize"]}, r"sweep.objectives: found \[val_auc\] for .*as many metrics as"),
        (
            {"direction": "minimize"},
            "hydra.sweeper.direction: found minimize, which looks for the worst val_auc; type hydra",
        ),
        (
            {"direction": ["maximize", "maximize"], "objectives": ["val_auc", "val_loss"]},
            r"hydra.sweeper.direction: found \[maximize,maximize\], .* worst val_loss; .*=\[maximize,minimize\]",
        ),
        ({"objectives": ["auc"]}, "sweep.objectives: there is no metric auc; expected one of train_loss, "),
        ({"constraints": {"auc": 1}}, "hydra.sweeper.constraints.auc: there is no metric auc"),
        ({"constraints": {"train_auc": "low"}}, "hydra.sweeper.constraints.train_auc: found low"),
        ({"storage": None, "workers": 2}, "hydra.sweeper.storage: found null, but several workers"),
        (
            {
                "direction": ["maximize", "minimize"],
                "objectives": ["val_auc", "val_loss"],
                "pruner": optuna.pruners.MedianPruner(),
            },
            "hydra/sweeper/pruner: Optuna prunes by one objective",
        ),
        (
            {"direction": ["maximize", "minimize"], "objectives": ["val_auc", "val_loss"], "target": 0.5},
            "sweep.target and sweep.plateau.trials: expected null",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_setting_that_makes_no_sense_is_one_line_before_any_trial(
    sweep: Sweep, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=f"^{said}") as error:
        sweep(**settings)
    assert "\n" not in str(error.value)
    assert not (sweep.folder / "studies.log").exists()


# ---- known points and what a sweep may change


def test_known_points_outside_of_choices_are_left_out_and_the_sweep_goes_on(sweep: Sweep) -> None:
    launcher = sweep(f"{DROPOUT}=choice(0.1,0.3)", n_trials=3)
    assert launcher.jobs[0][DROPOUT] == "0.3"  # strong is the only one inside
    assert {job[DROPOUT] for job in launcher.jobs} <= {"0.1", "0.3"}
    assert sweep.study.trials[0].user_attrs["point"] == "strong"


def test_a_known_point_of_any_type_is_tried_first_as_what_it_is(sweep: Sweep) -> None:
    space = ["model=choice(din,bst)", "model.head=choice([8],[16,8])", "data.history_order=choice('time',shuffled)"]
    known = {"a": {"model": "bst", "model.head": [16, 8], "data.history_order": "time"}}
    launcher = sweep(*space, n_trials=2, enqueue=known, outcome=lambda job: 0.5)
    first = launcher.jobs[0]
    assert (first["model"], first["model.head"], first["data.history_order"]) == ("bst", "[16,8]", "time")
    assert sweep.study.trials[0].user_attrs["point"] == "a"


def test_a_misspelt_known_point_is_refused_before_the_study_is_made(sweep: Sweep) -> None:
    with pytest.raises(
        UserError, match=r"^hydra\.sweeper\.enqueue\.a\.regularization\.droput: .*regularization\.dropout"
    ):
        sweep(n_trials=2, enqueue={"a": {"regularization.droput": 0.2}})
    with pytest.raises(KeyError):
        _ = sweep.study


@pytest.mark.parametrize(
    "other",
    ["choice(0.1,0.3)", pytest.param("tag(log,interval(0.1,0.3))", marks=pytest.mark.slow)],
    ids=["choice", "log"],
)
def test_a_sweep_that_optuna_cannot_mix_into_a_study_changes_nothing_even_if_forced(sweep: Sweep, other: str) -> None:
    sweep(n_trials=2)
    before = (dict(sweep.study.user_attrs), len(sweep.study.trials))
    with pytest.raises(UserError, match=rf"^{DROPOUT}: this sweep has .* give it another name") as error:
        sweep(f"{DROPOUT}={other}", "training.epochs=2", n_trials=4, enqueue={}, force=True)
    assert "\n" not in str(error.value)
    assert (dict(sweep.study.user_attrs), len(sweep.study.trials)) == before
    assert sweep(n_trials=3).numbers == [2]


def test_a_key_that_the_config_lacks_is_recorded_with_its_sign_and_run_again_with_it(sweep: Sweep) -> None:
    typed = ("model=din", "+model.embedding.behaviour=choice(4,8)")
    launcher = sweep(*typed, n_trials=1, enqueue={}, outcome=lambda job: float(job["+model.embedding.behaviour"]))
    [trial] = sweep.study.trials
    assert trial.user_attrs["added"] == {"model.embedding.behaviour": "+"}
    again = rerun_overrides(trial)
    assert f"+model.embedding.behaviour={launcher.jobs[0]['+model.embedding.behaviour']}" in again
    assert "model=din" in again


@pytest.mark.parametrize(
    "typed",
    [
        ("model=din", "model.embedding=choice({item: 16},{item: 8})"),
        ("model.sequence.embedding=choice({item: 16, other: 8},{item: 8})",),
        ('training.patience=choice("${training.epochs}",1)',),
        ("model=din", "model.head[0]=choice(8,16)"),
        ("model=din", "model.head=[4]", "model.embedding.item=4", "model.embedding=choice({other: 4},{other: 8})"),
    ],
)
def test_a_value_that_is_merged_or_resolved_is_not_taken_for_a_conflict(sweep: Sweep, typed: tuple[str, ...]) -> None:
    assert len(sweep(*typed, n_trials=1, enqueue={}, outcome=lambda job: 0.5).jobs) == 1


def test_two_parameters_that_set_the_same_key_are_refused_before_any_trial(sweep: Sweep) -> None:
    typed = ("model=din", "model.embedding=choice({item: 16},{item: 8})", "model.embedding.item=choice(4,2)")
    with pytest.raises(
        UserError, match=r"^model\.embedding: is searched, but another override of this sweep sets it too"
    ):
        sweep(*typed, n_trials=1)


def test_a_shuffled_choice_is_the_same_parameter_in_every_command(sweep: Sweep) -> None:
    typed = ("training.epochs=shuffle(choice(1,2,3,4,5,6))", "training.batch_size=shuffle(range(64,70))")
    for n_trials in (1, 2, 3):
        sweep(*typed, n_trials=n_trials, enqueue={}, outcome=lambda job: 0.5)
    assert len(sweep.study.trials) == 3


def test_a_point_that_another_program_enqueued_outside_the_choices_is_one_line(sweep: Sweep) -> None:
    sweep("model=choice(din,bst)", n_trials=1, enqueue={}, outcome=lambda job: 0.5)
    sweep.study.enqueue_trial({"model": "dcnv9"})
    with pytest.raises(UserError, match=r"^trial 1: model: the value that it was enqueued with is none of the space"):
        sweep("model=choice(din,bst)", n_trials=3, enqueue={}, outcome=lambda job: 0.5)
    assert len(sweep("model=choice(din,bst)", n_trials=3, enqueue={}, outcome=lambda job: 0.5).jobs) == 2
