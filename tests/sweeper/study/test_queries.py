"""What is read out of a trial: edges of its intervals, and the overrides that run it again."""

from __future__ import annotations

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from mdaf.sweeper.study.queries import trials_of
from mdaf.sweeper.study.winners import edges, rerun_overrides


@pytest.mark.parametrize(
    ("distribution", "value", "expected"),
    [
        (FloatDistribution(1, 2), 1.019, {"x": "low"}),
        (FloatDistribution(1, 2), 1.021, {}),
        (FloatDistribution(-1, 0), -0.999, {"x": "low"}),
        (FloatDistribution(-1, 0), -0.001, {"x": "high"}),
        (IntDistribution(1, 200), 1, {"x": "low"}),
        (FloatDistribution(0, 1), 0.999, {"x": "high"}),
        (FloatDistribution(1e-5, 1e-3, log=True), 1.08e-5, {"x": "low"}),
        (FloatDistribution(1e-5, 1e-3, log=True), 2e-5, {}),
        (FloatDistribution(0, 0.1, step=0.001), 0.001, {}),
        (IntDistribution(1, 200), 2, {}),
        (IntDistribution(1, 200), 200, {"x": "high"}),
        (FloatDistribution(0.3, 0.3), 0.3, {}),
        (CategoricalDistribution([1, 2]), 1, {}),
    ],
)
def test_an_edge_is_the_last_fiftieth_of_the_width_or_the_last_step(
    distribution: BaseDistribution, value: float, expected: dict[str, str]
) -> None:
    assert edges(create_trial(value=0, params={"x": value}, distributions={"x": distribution})) == expected


@pytest.mark.parametrize("distribution", [FloatDistribution(0, 0.1), FloatDistribution(0, 0.1, step=0.01)])
def test_an_interval_from_0_has_no_low_edge_since_nothing_lies_beyond_it(distribution: BaseDistribution) -> None:
    for value, expected in ((0.0, {}), (0.1, {"x": "high"})):
        assert edges(create_trial(value=0, params={"x": value}, distributions={"x": distribution})) == expected


def test_a_value_outside_of_its_interval_lies_on_no_edge() -> None:
    trial = create_trial(value=0, params={"x": 1e-4}, distributions={"x": FloatDistribution(1e-5, 1e-3, log=True)})
    trial.params = {"x": -1.0}
    assert edges(trial) == {}


def test_a_searched_key_wins_over_a_fixed_override_of_it_and_the_tie_to_the_study_is_cut() -> None:
    trial = create_trial(
        value=0.5,
        params={"model": "mdaf_bst", "seed": 7},
        distributions={"model": CategoricalDistribution(["mdaf_mamba", "mdaf_bst"]), "seed": IntDistribution(0, 9)},
        user_attrs={"overrides": ["data=synthetic", "model=mdaf_mamba", "++seed=1", "sweep.study=a", "+tag=x"]},
    )
    assert rerun_overrides(trial) == ["data=synthetic", "+tag=x", "model=mdaf_bst", "seed=7"]


def test_a_key_that_the_config_lacks_is_run_again_with_its_sign() -> None:
    trial = create_trial(
        value=0.5,
        params={"model.embedding.behaviour": 4, "data.view": "'[UNK]'", "training.patience": "null"},
        distributions={
            "model.embedding.behaviour": CategoricalDistribution([4, 8]),
            "data.view": CategoricalDistribution(["'[UNK]'", "pv"]),
            "training.patience": CategoricalDistribution(["null", 3]),
        },
        user_attrs={"added": {"model.embedding.behaviour": "+"}},
    )
    again = ["+model.embedding.behaviour=4", "data.view='[UNK]'", "training.patience=null"]
    assert rerun_overrides(trial) == again


def test_a_choice_among_lists_is_run_again_as_the_list_that_it_was() -> None:
    head = CategoricalDistribution(["[8]", "[16,8]"])
    trial = create_trial(value=0.5, params={"model.head": "[16,8]"}, distributions={"model.head": head})
    assert rerun_overrides(trial) == ["model.head=[16,8]"]


def test_a_trial_that_ends_between_two_questions_is_seen_as_it_ended() -> None:
    study = optuna.create_study()
    study.add_trial(create_trial(value=1.0, user_attrs={"seed": "not a number"}))
    trial = study.ask()
    first, second = (trials_of(study) for _ in range(2))
    assert first == second
    assert "seed" not in first[0].user_attrs
    assert first[1].state is TrialState.RUNNING
    study.tell(trial, 0.5)
    assert [trial.value for trial in trials_of(study)] == [1.0, 0.5]
