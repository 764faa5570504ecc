"""A race, through the doors that a user has: what is run, on which seeds, and what comes of it."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from mdaf import conf
from mdaf.errors import UserError
from mdaf.multirun.analysis.confirmation import check_disjoint
from mdaf.multirun.phase4.design import design_of
from mdaf.multirun.phase4.plan import search_seeds
from mdaf.sweeper.racing.points import points
from mdaf.sweeper.racing.race import Race
from mdaf.sweeper.racing.sampler import RacingSampler
from mdaf.sweeper.search.settings import RACE_SEEDS
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.trials.leases import Leases
from mdaf.sweeper.trials.points.proposals import Proposal
from mdaf.sweeper.trials.trials import Trials
from mdaf.sweeper.trials.user_attrs import DIED, POINT, POINT_ID, SEED, WITHDRAWN
from tests.sweeper import sphere
from tests.sweeper.sphere import Swept, dependent

RACING = ("hydra/sweeper/sampler=racing", "hydra.sweeper.sampler.seed=1", "hydra.sweeper.direction=maximize")
SQUARE = ("x=interval(0,1)", "y=interval(0,1)")
KNOWN = "+hydra.sweeper.enqueue={weak: {x: 0.1, y: 0.2}, strong: {x: 0.9, y: 0.9}}"


def noise(cfg: DictConfig) -> float:
    return 0.05 * random.Random(f"{cfg.seed} {cfg.x} {cfg.y}").gauss(0, 1)


def hill(cfg: DictConfig) -> float:
    """Best at x = 0.3, y = 0.6, with noise that depends on the seed."""
    return -((float(cfg.x) - 0.3) ** 2) - (float(cfg.y) - 0.6) ** 2 + noise(cfg)


def race(
    folder: Path, *overrides: str, task: Callable[[DictConfig], Any] = hill, n_trials: int = 20, **kind: Any
) -> Swept:
    return sphere.sweep(folder, *RACING, f"hydra.sweeper.n_trials={n_trials}", *overrides, task=task, **kind)


def runs(trials: list[FrozenTrial]) -> list[tuple[str, int]]:
    """The point and the seed of each trial that finished."""
    return [(t.user_attrs[POINT_ID], t.user_attrs[SEED]) for t in trials if t.state is TrialState.COMPLETE]


def check(trials: list[FrozenTrial], n_trials: int) -> None:
    found = runs(trials)
    assert len(found) == n_trials
    assert len(set(found)) == n_trials, "a seed of a point was run twice"
    whole = [
        t for t in trials if t.params and WITHDRAWN not in t.user_attrs
    ]  # a withdrawn one may hold a part of its own
    by_params = {tuple(sorted(t.params.items())): t.user_attrs[POINT_ID] for t in whole}
    assert len(by_params) == len(set(by_params.values()))


def test_known_points_come_first_then_nine_that_fill_the_space_one_seed_each_then_points_race(tmp_path: Path) -> None:
    swept = race(tmp_path, KNOWN, *SQUARE, n_trials=24)
    trials = swept.study.trials
    check(trials, 24)
    assert [trial.user_attrs.get(POINT) for trial in trials[:3]] == ["weak", "strong", None]
    assert {trial.user_attrs[SEED] for trial in trials[:11]} == {RACE_SEEDS[0]}
    assert len({trial.user_attrs[POINT_ID] for trial in trials[:11]}) == 11
    for name in ("x", "y"):  # each ninth of a Sobol sequence lies near its own part of the interval
        values = sorted(trial.params[name] for trial in trials[2:11])
        assert max(b - a for a, b in zip([0.0, *values], [*values, 1.0], strict=True)) < 0.25
    counts = Counter(point for point, _ in runs(trials))
    assert max(counts.values()) > 1, "no point was run on a second seed"
    for trial in trials:
        assert swept.jobs[trial.number].seed == trial.user_attrs[SEED]
        assert trial.user_attrs["overrides"] == [f"seed={trial.user_attrs[SEED]}"]


def test_a_race_that_goes_on_runs_what_it_would_have_run(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = race(tmp_path / "whole", KNOWN, *SQUARE, n_trials=13)
    race(tmp_path / "parts", KNOWN, *SQUARE, n_trials=7)
    parts = race(tmp_path / "parts", KNOWN, *SQUARE, n_trials=13)
    assert [(t.params, t.user_attrs[SEED]) for t in parts.study.trials] == [
        (t.params, t.user_attrs[SEED]) for t in whole.study.trials
    ]


@pytest.mark.parametrize("at", [5, 15])
def test_a_race_that_was_interrupted_runs_what_it_would_have_run(tmp_path: Path, at: int) -> None:
    def stopped(cfg: DictConfig) -> float:
        if HydraConfig.get().job.num == at:
            raise KeyboardInterrupt
        return hill(cfg)

    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    whole = race(tmp_path / "whole", KNOWN, *SQUARE)
    with pytest.raises(KeyboardInterrupt):
        race(tmp_path / "parts", KNOWN, *SQUARE, task=stopped)
    parts = race(tmp_path / "parts", KNOWN, *SQUARE)
    assert [trial.state.name for trial in parts.study.trials].count("FAIL") == 1
    assert runs(parts.study.trials) == runs(whole.study.trials)


def test_a_race_that_was_interrupted_before_a_trial_had_a_point_runs_what_it_would_have_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(race: Race, draw: int, *given: Any) -> Proposal:
        if draw == 14:
            raise KeyboardInterrupt
        return propose(race, draw, *given)

    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    whole = race(tmp_path / "whole", KNOWN, *SQUARE)
    propose = Race.propose
    monkeypatch.setattr(Race, "propose", stopped)
    with pytest.raises(KeyboardInterrupt):
        race(tmp_path / "parts", KNOWN, *SQUARE)
    monkeypatch.undo()
    parts = race(tmp_path / "parts", KNOWN, *SQUARE)
    assert [number for number, trial in enumerate(parts.study.trials) if not trial.params] == [14]
    assert runs(parts.study.trials) == runs(whole.study.trials)


def test_runs_that_are_launched_together_are_different_ones(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    overrides = [*SQUARE, f"hydra.sweep.dir={folder}", f"hydra.sweeper.storage=sqlite:///{tmp_path}/s.db"]
    race(tmp_path, *overrides, "hydra.sweeper.study_name=s", "hydra.sweeper.n_jobs=6", stored=False, n_trials=13)
    study = optuna.load_study(study_name="s", storage=open_storage(f"sqlite:///{tmp_path}/s.db", create=False))
    check(study.trials, 13)


@pytest.mark.parametrize("dimensions", [1, 20])
def test_a_race_is_run_in_one_dimension_and_in_twenty(tmp_path: Path, dimensions: int) -> None:
    names = [f"x{n}" for n in range(dimensions)]
    swept = race(
        tmp_path,
        *(f"+{name}=tag(log,interval(1e-5,1e-1))" if n % 2 else f"+{name}=range(1,9)" for n, name in enumerate(names)),
        task=lambda cfg: -abs(float(cfg.x0) - 3) + random.Random(str(cfg)).gauss(0, 0.3),
        n_trials=11,
    )
    check(swept.study.trials, 11)
    for trial in swept.study.trials:
        assert all(1 <= trial.params[name] <= 8 and isinstance(trial.params[name], int) for name in names[::2])
        assert all(1e-5 <= trial.params[name] <= 1e-1 for name in names[1::2])


def test_a_space_of_choices_is_raced_until_each_has_had_all_its_seeds(tmp_path: Path) -> None:
    space = ("x=choice(1,2)", "z=choice(foo,bar)", "hydra.sweeper.sampler.seeds=[3,4,5]")
    swept = race(tmp_path, *space, task=lambda cfg: cfg.x + cfg.seed, n_trials=12)
    check(swept.study.trials, 12)
    with pytest.raises(UserError, match="has had all 3 seeds; expected more seeds, a wider space, or a smaller"):
        race(tmp_path, *space, task=lambda cfg: cfg.x + cfg.seed, n_trials=13)
    assert not [trial for trial in swept.study.trials if trial.state is TrialState.RUNNING]
    race(tmp_path, *space[:2], "hydra.sweeper.sampler.seeds=[3,4,5,6]", task=lambda cfg: cfg.x + cfg.seed, n_trials=16)
    check(swept.study.trials, 16)


def test_points_of_a_space_that_depends_on_what_was_suggested_are_raced_too(tmp_path: Path) -> None:
    swept = race(
        tmp_path,
        "x=range(-1,2)",
        f"hydra.sweeper.custom_search_space={dependent.__module__}.{dependent.__name__}",
        "hydra.sweeper.sampler.start=4",
        task=lambda cfg: -abs(float(cfg.x)) + random.Random(str(cfg)).gauss(0, 0.1),
        n_trials=14,
    )
    trials = swept.study.trials
    check(trials, 14)
    assert max(Counter(point for point, _ in runs(trials)).values()) > 1
    assert len({point for point, _ in runs(trials)}) > 4
    assert points(trials, maximize=True)[0].params["x"] == 0


def test_a_run_that_diverged_counts_as_the_worst_value_and_its_point_is_not_tried_again(tmp_path: Path) -> None:
    def diverging(cfg: DictConfig) -> float:
        return float("nan") if cfg.x > 0.8 else hill(cfg)

    swept = race(
        tmp_path, KNOWN, *SQUARE, "hydra.sweeper.max_failure_rate=1", "hydra.sweeper.replace_failed=true",
        task=diverging, n_trials=13,
    )  # fmt: skip
    trials = swept.study.trials
    failed = [trial for trial in trials if trial.state is TrialState.FAIL]
    assert "strong" in {trial.user_attrs.get(POINT) for trial in failed}
    assert len({trial.user_attrs[POINT_ID] for trial in failed}) == len(failed)
    check(trials, 13)
    assert all(point.params["x"] <= 0.8 for point in points(trials, maximize=True))


def test_runs_of_an_earlier_sweep_count_in_a_race(tmp_path: Path) -> None:
    common = (*SQUARE, "hydra.sweeper.direction=maximize", KNOWN)
    sphere.sweep(tmp_path, *common, "hydra.sweeper.n_trials=12", "hydra.sweeper.sampler.seed=1", task=hill)
    swept = race(tmp_path, KNOWN, *SQUARE, n_trials=14)
    assert len(swept.study.trials) == 14  # nine points were there, so the model chose at once
    assert [trial.user_attrs[SEED] for trial in swept.study.trials[12:]] == [RACE_SEEDS[0]] * 2


def test_a_seed_in_the_study_is_a_whole_number_and_points_outside_the_space_are_not_run_again(tmp_path: Path) -> None:
    race(tmp_path, KNOWN, *SQUARE, n_trials=11)
    narrow = ("x=interval(0.5,1)", "y=interval(0,1)")
    swept = race(tmp_path, *narrow, n_trials=14)
    check(swept.study.trials, 14)
    assert all(trial.params["x"] >= 0.5 for trial in swept.study.trials[11:])
    swept.study.enqueue_trial({"x": 0.7, "y": 0.5}, user_attrs={SEED: "1 hydra.sweep.dir=/tmp"})
    with pytest.raises(UserError, match=r"its attribute seed is '1 hydra.sweep.dir=/tmp', expected a whole number"):
        race(tmp_path, *narrow, n_trials=16)


def test_another_programs_seed_may_have_another_key(tmp_path: Path) -> None:
    config = "run: {seed: 1}\n"
    swept = race(
        tmp_path, *SQUARE, "hydra.sweeper.sampler.seed_key=run.seed", "hydra.sweeper.sampler.seeds=[5,6]",
        config=config, n_trials=3,
    )  # fmt: skip
    assert [swept.jobs[number].run.seed for number in range(3)] == [5, 5, 5]
    swept = race(
        tmp_path, *SQUARE, "hydra.sweeper.sampler.seed_key=+new", "hydra.sweeper.sampler.seeds=[5,6]",
        config=config, n_trials=4,
    )  # fmt: skip
    assert swept.jobs[3].new == 5


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["hydra.sweeper.sampler.seeds=[]"], "seeds: found [], expected a list of whole numbers from 0, at least one"),
        (["hydra.sweeper.sampler.seeds=[1,a]"], "seeds: found [1, 'a'], expected a list of whole numbers"),
        (["hydra.sweeper.sampler.seeds=[1,2,1]"], "seeds: found 1 twice, expected each seed once"),
        (["hydra.sweeper.sampler.start=0"], "start: found 0, expected a whole number from 1"),
        (["seed=5"], "seed: a race sets it for each run; take it away"),
        (["seed=range(1,5)"], "seed: is searched, but a race sets it for each run"),
        (["hydra.sweeper.sampler.seed_key=nothing"], "the config has no key nothing"),
        (["hydra.sweeper.direction=[maximize,minimize]"], "found 2 objectives, expected one"),
        (
            ["+hydra.sweeper.pruner={_target_: optuna.pruners.MedianPruner}"],
            "a race compares whole runs, and a pruned one has no value; expected hydra/sweeper/pruner=none",
        ),
    ],
)
def test_what_does_not_go_with_a_race_is_one_line_before_any_run(
    tmp_path: Path, overrides: list[str], complaint: str
) -> None:
    with pytest.raises(UserError) as refused:
        race(tmp_path, *SQUARE, *overrides)
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not optuna.get_all_study_names(open_storage(f"sqlite:///{tmp_path}/s.db", create=False))


# ---- several processes


SPACE: dict[str, BaseDistribution] = {"x": IntDistribution(0, 3), "y": CategoricalDistribution(["a", "b"])}


def race_of_three_seeds() -> Race:
    return Race(RacingSampler((1, 2, 3), start=3, seed=1), SPACE, known=[("weak", {"x": 0, "y": "a"})], maximize=True)


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    storage = open_storage(f"sqlite:///{tmp_path}/s.db", create=True)
    return optuna.create_study(study_name="s", storage=storage, direction="maximize")


def test_of_processes_that_ask_at_once_no_two_get_the_same_seed_of_a_point(study: optuna.Study, tmp_path: Path) -> None:
    def work() -> None:
        own = optuna.load_study(study_name="s", storage=open_storage(f"sqlite:///{tmp_path}/s.db", create=False))
        with Leases(own._storage) as leases:
            trials = Trials(own, 20, race=race_of_three_seeds(), leases=leases)
            while not trials.is_over(seen := trials.seen()):
                if (trial := trials.claim(seen, {})) is not None:
                    own.tell(trial, sum(trial._suggest(name, kind) == 1 for name, kind in SPACE.items()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trials = study.trials
    assert sum(trial.state is TrialState.COMPLETE for trial in trials) == 20
    assert all(trial.state is not TrialState.FAIL or WITHDRAWN in trial.user_attrs for trial in trials)
    check(trials, 20)


def test_a_run_whose_process_died_is_run_again_with_the_same_seed(study: optuna.Study) -> None:
    with Leases(study._storage) as leases:
        trials = Trials(study, 30, race=race_of_three_seeds(), leases=leases)
        for _ in range(12):
            trial = trials.claim(trials.seen(), {"overrides": ["a=1"]})
            assert trial is not None
            study.tell(trial, random.Random(trial.number).random() + trial._suggest("x", SPACE["x"]))
        dead = trials.claim(trials.seen(), {"overrides": ["a=1"]})
        assert dead is not None
        trials.give_up(study.trials[12], "gone")
        trials.retries.enqueue_owed(at_once=[12])
        again = trials.claim(trials.seen(), {"overrides": ["a=2"]})
        assert again is not None
        stored, before = study.trials[again.number], study.trials[12]
        assert DIED in before.user_attrs
        for name in (SEED, POINT_ID):
            assert stored.user_attrs[name] == before.user_attrs[name]
        assert stored.system_attrs["fixed_params"] == before.system_attrs["fixed_params"]
        assert stored.user_attrs["overrides"] == ["a=2", f"seed={before.user_attrs[SEED]}"]


def test_a_point_that_another_program_enqueued_gets_its_next_seed(study: optuna.Study) -> None:
    study.enqueue_trial({"x": 0, "y": "a"})
    study.enqueue_trial({"x": 0, "y": "a"})
    with Leases(study._storage) as leases:
        trials = Trials(study, 30, race=race_of_three_seeds(), leases=leases)
        claimed = [trials.claim(trials.seen(), {}) for _ in range(3)]
    assert [study.trials[trial.number].user_attrs[SEED] for trial in claimed if trial is not None] == [1, 2, 1]


def test_pending_runs_are_counted_so_a_race_does_not_ask_for_the_same_again(study: optuna.Study) -> None:
    space: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1)}
    sampler = RacingSampler((1, 2, 3), start=3, seed=1)
    with Leases(study._storage) as leases:
        trials = Trials(study, 60, race=Race(sampler, space, known=[], maximize=True), leases=leases)
        for _ in range(6):
            trial = trials.claim(trials.seen(), {})
            assert trial is not None
            study.tell(trial, -((trial._suggest("x", space["x"]) - 0.5) ** 2))
        for _ in range(12):
            assert trials.claim(trials.seen(), {}) is not None
    asked = [(t.user_attrs[POINT_ID], t.user_attrs[SEED]) for t in study.trials]
    assert len(set(asked)) == 18


# ---- seeds


@pytest.mark.parametrize("design", ["sequential", "research"])
def test_the_seeds_of_the_race_of_confirmation_and_of_phase_4_are_disjoint(study: optuna.Study, design: str) -> None:
    conf.register()
    with initialize_config_module("mdaf.conf"):
        phase4 = compose("phase4", overrides=[f"design={design}"])
    assert not set(RACE_SEEDS) & {*design_of(phase4).seeds, *phase4.confirm.seeds}
    study.set_user_attr("race_seeds", [7, 42])
    assert search_seeds(study) == []
    assert search_seeds(study, declared=True) == [7, 42]
    with pytest.raises(UserError, match="seed 42: found in both the search and Phase 4"):
        check_disjoint(search_seeds(study, declared=True), phase4.confirm.seeds, design_of(phase4).seeds)
