"""A study refuses trials that its own can't be compared with, unless it is told to take them."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from mdaf.errors import UserError
from mdaf.sweeper.trials.compatibility import agree, agree_on_data, agree_on_directions

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
    study.tell(study.ask(SPACE), 0.5)
    return study


def join(
    study: optuna.Study, space: dict[str, BaseDistribution] | None = None, force: bool = False, **changed: Any
) -> None:
    config = OmegaConf.create(CONFIG)
    for key, value in changed.pop("config", {}).items():
        OmegaConf.update(config, key, value)
    settings: dict[str, Any] = {"objectives": ["val_auc"], "constraints": {}} | changed
    new = agree(study, space=SPACE if space is None else space, config=config, force=force, **settings)
    for attribute, value in new.items():
        study.set_user_attr(attribute, value)


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
    ],
)
def test_another_search_is_refused_with_what_differs_and_the_way_out(
    study: optuna.Study, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said) as error:
        join(study, **changed)
    assert "hydra.sweeper.force=true" in str(error.value)  # the config is another program's
    join(study)  # and the study is as it was
    join(study, force=True, **changed)
    join(study, **changed)  # now it goes by the new one


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("distribution", "found"),
    [
        (FloatDistribution(0.1, 0.4, log=True), "float, log"),
        (IntDistribution(0, 1), "int"),
        (CategoricalDistribution((0.1, 0.2)), r"one of \[0\.1, 0\.2\]"),
    ],
)
def test_another_kind_of_parameter_is_refused_forced_or_not_and_nothing_is_written(
    study: optuna.Study, distribution: BaseDistribution, found: str, force: bool
) -> None:
    before = dict(study.user_attrs)
    said = rf"^regularization\.dropout: this sweep has {found}, but the trials of study s have float, .* another name"
    with pytest.raises(UserError, match=said) as error:
        join(study, {"regularization.dropout": distribution}, force, config={"training.epochs": 2})
    assert "force=true" not in str(error.value)
    assert study.user_attrs == before
    join(study)  # the original sweep goes on


def test_other_choices_of_a_parameter_are_refused_and_the_original_ones_go_on() -> None:
    study = optuna.create_study(study_name="s")
    choices: dict[str, BaseDistribution] = {"model.head": CategoricalDistribution(("[8]", "[16,8]"))}
    join(study, choices)
    study.tell(study.ask(choices), 0.5)
    with pytest.raises(UserError, match=r"^model\.head: this sweep has one of"):
        join(study, {"model.head": CategoricalDistribution(("[8]",))}, force=True)
    join(study, choices)


def test_a_parameter_that_no_trial_has_may_still_become_another_one() -> None:
    study = optuna.create_study(study_name="s")
    join(study)
    join(study, {"regularization.dropout": CategoricalDistribution((0.1, 0.2))})


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
