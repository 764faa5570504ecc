"""A study refuses trials that its own can't be compared with, unless it is told to take them."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from sweeper.agreement import agree, agree_on_data, agree_on_directions
from sweeper.errors import UserError

SPACE: dict[str, BaseDistribution] = {"regularization.dropout": FloatDistribution(0.1, 0.4)}
CONFIG = {
    "regularization": {"dropout": 0.2, "weight_decay": 1e-5},
    "training": {"epochs": 5},
    "data": {"path": "here.csv", "length": 10},
    "device": {"name": "cpu"},
    "sweep": {"trial": None},
    "seed": 1,
}


@pytest.fixture
def study() -> optuna.Study:
    """A study that a first sweep has joined."""
    study = optuna.create_study(study_name="s", direction="maximize")
    join(study)
    return study


def join(
    study: optuna.Study, space: dict[str, BaseDistribution] | None = None, force: bool = False, **changed: Any
) -> None:
    config = OmegaConf.create(CONFIG)
    for key, value in changed.pop("config", {}).items():
        OmegaConf.update(config, key, value)
    settings: dict[str, Any] = {"objectives": ["val_auc"], "constraints": {}} | changed
    agree(study, space=SPACE if space is None else space, config=config, force=force, **settings)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"config": {"seed": 2}},
        {"config": {"device.name": "cuda"}},
        {"config": {"data.path": "there.csv"}},
        {"config": {"sweep.trial": 3}},
        {"config": {"regularization.dropout": 0.3}},
        {"space": {"regularization.dropout": FloatDistribution(0.2, 0.3)}},
        {"space": {**SPACE, "training.epochs": CategoricalDistribution((1, 2))}},
    ],
)
def test_the_same_search_goes_on_wherever_it_runs_and_however_its_intervals_are(
    study: optuna.Study, changed: dict[str, Any]
) -> None:
    join(study, **changed)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"config": {"training.epochs": 2}}, r"^training\.epochs: this sweep has 2, .* have 5;"),
        ({"config": {"data.length": 20}}, r"^data\.length"),
        ({"objectives": ["val_gauc"]}, r"^the objective's names: this sweep has \[\"val_gauc\"\]"),
        ({"constraints": {"train_auc": 0.75}}, r"^the objective's constraints: .*0\.75"),
        (
            {"space": {"regularization.dropout": FloatDistribution(0.1, 0.4, log=True)}},
            r"^regularization\.dropout: this sweep has float, log, but the trials of study s have float;",
        ),
        (
            {"space": {"regularization.dropout": CategoricalDistribution((0.1, 0.2))}},
            r"^regularization\.dropout: this sweep has one of \[0\.1, 0\.2\]",
        ),
    ],
)
def test_another_search_is_refused_with_what_differs_and_the_way_out(
    study: optuna.Study, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said) as error:
        join(study, **changed)
    assert "sweep.force=true" in str(error.value)
    join(study)  # and the study is as it was
    join(study, force=True, **changed)
    join(study, **changed)  # now it goes by the new one


def test_a_searched_group_may_change_everything_below_it() -> None:
    study = optuna.create_study(study_name="s")
    space: dict[str, BaseDistribution] = {"data": CategoricalDistribution(("a", "b"))}
    join(study, space)
    join(study, space, config={"data.length": 20})


def test_other_directions_are_refused(study: optuna.Study) -> None:
    agree_on_directions(study, ["maximize"])
    with pytest.raises(UserError, match=r"^hydra\.sweeper\.direction: found minimize, but study s has maximize"):
        agree_on_directions(study, ["minimize"])


def test_other_data_is_refused_by_the_job_that_prepared_it(study: optuna.Study) -> None:
    agree_on_data(study, "aaaa", force=False)
    agree_on_data(study, "aaaa", force=False)
    with pytest.raises(UserError, match=r"^data: its hash is bbbb, .* trained on aaaa"):
        agree_on_data(study, "bbbb", force=False)
    agree_on_data(study, "bbbb", force=True)
    agree_on_data(study, "bbbb", force=False)
