"""A job and its trial: what the study recorded is what is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from mdaf.errors import UserError
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.trials.attaching.link import TrialLink
from tests.sweeper.tiny import composed

SPACE = {"regularization.dropout": FloatDistribution(0.1, 0.4), "model": CategoricalDistribution(("mdaf_mamba", "din"))}
POINT = {"regularization.dropout": 0.3, "model": "mdaf_mamba"}


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A storage with one running trial at ``POINT``."""
    url = f"sqlite:///{tmp_path}/studies.db"
    study = optuna.create_study(storage=open_storage(url, create=True), study_name="s", direction="maximize")
    study.enqueue_trial(POINT)
    study.ask(SPACE)
    return url


def link(url: str, pruner: dict[str, Any] | None = None) -> TrialLink:
    return TrialLink(url, "s", 0, pruner)


def test_the_effective_values_are_those_of_the_config_and_of_the_chosen_groups(url: str) -> None:
    cfg = composed("regularization.dropout=0.3")
    assert link(url).check_parameters(cfg, {"model": "mdaf_mamba"}) == POINT


def test_a_config_that_differs_from_the_suggestion_is_refused_by_name(url: str) -> None:
    with pytest.raises(UserError, match=r"^regularization\.dropout: the study suggested 0\.3 .* holds 0\.25"):
        link(url).check_parameters(composed(), {"model": "mdaf_mamba"})
    with pytest.raises(UserError, match=r"^model: the study suggested mdaf_mamba .* holds din"):
        link(url).check_parameters(composed("regularization.dropout=0.3"), {"model": "din"})


@pytest.mark.parametrize(
    ("choice", "other", "overrides", "found"),
    [
        (
            "{item:16}",
            "{item:8}",
            ["model=din", "model.embedding={item:16}"],
            {"item": 16, "category": 32, "other": 16},
        ),
        ('"${training.epochs}"', "3", ["training.patience='${training.epochs}'"], 2),
        ("[16,8]", "[8]", ["model.head=[16,8]"], [16, 8]),
        ("null", 3, ["training.patience=null"], None),
        (4, 8, ["model=din", "+model.embedding.behaviour=4"], 4),
        ("'null'", "null", ["data=event_log", "data.view='null'"], "null"),
        ("[UNK]", "x", ["data=event_log", "data.view='[UNK]'"], None),  # a list was suggested, and a string is there
    ],
)
def test_a_value_of_any_type_is_compared_with_what_another_override_would_have_changed(
    tmp_path: Path, choice: Any, other: Any, overrides: list[str], found: Any
) -> None:
    key = overrides[-1].partition("=")[0].lstrip("+")
    url = f"sqlite:///{tmp_path}/studies.db"
    study = optuna.create_study(storage=open_storage(url, create=True), study_name="s")
    study.enqueue_trial({key: choice})
    study.ask({key: CategoricalDistribution((choice, other))})
    cfg = composed(*overrides, tiny=("training.epochs=2",))
    if choice == "[UNK]":
        with pytest.raises(UserError, match=r"^data\.view: the study suggested \[UNK\] .* holds \[UNK\]"):
            link(url).check_parameters(cfg, {})
    else:
        assert link(url).check_parameters(cfg, {}) == {key: found}
    changed: dict[type, Any] = {dict: {"item": 4}, list: [7], str: "x"}
    OmegaConf.update(cfg, key, changed.get(type(found), 7))
    with pytest.raises(UserError, match="another override sets it too"):
        link(url).check_parameters(cfg, {})


def test_reports_and_attributes_reach_the_study_from_the_job(url: str) -> None:
    trial = link(url)
    assert trial.report(1, 0.6) is False
    trial.record({"best_epoch": 1, "gate_mean": None})
    [stored] = optuna.load_study(study_name="s", storage=open_storage(url, create=False)).trials
    assert stored.intermediate_values == {1: 0.6}
    assert stored.user_attrs == {"best_epoch": 1, "gate_mean": None}
    assert (stored.state, stored.params) == (TrialState.RUNNING, POINT)


def test_the_pruners_answer_reaches_the_job(url: str) -> None:
    hopeless = {"_target_": "optuna.pruners.ThresholdPruner", "lower": 0.5}
    assert link(url, hopeless).report(1, 0.6) is False
    assert link(url, hopeless).report(2, 0.4) is True


def test_a_trial_that_has_trained_its_last_epoch_is_not_pruned(url: str) -> None:
    hopeless = {"_target_": "optuna.pruners.ThresholdPruner", "lower": 0.5}
    assert link(url, hopeless).report(1, 0.4, last=True) is False
