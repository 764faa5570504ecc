"""A job and its trial: what the study recorded is what is trained."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from sweeper.errors import UserError
from sweeper.storage import open_storage
from sweeper.trial import TrialLink
from tests.sweeper.runs import composed

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


def link(url: str, pruner: optuna.pruners.BasePruner | None = None) -> TrialLink:
    return TrialLink(url, "s", 0, pruner or optuna.pruners.NopPruner())


def test_the_effective_values_are_those_of_the_config_and_of_the_chosen_groups(url: str) -> None:
    cfg = composed("regularization.dropout=0.3")
    assert link(url).check_parameters(cfg, {"model": "mdaf_mamba"}) == POINT


def test_a_config_that_differs_from_the_suggestion_is_refused_by_name(url: str) -> None:
    with pytest.raises(UserError, match=r"^regularization\.dropout: the study suggested 0\.3 .* holds 0\.25"):
        link(url).check_parameters(composed(), {"model": "mdaf_mamba"})
    with pytest.raises(UserError, match=r"^model: the study suggested mdaf_mamba .* holds din"):
        link(url).check_parameters(composed("regularization.dropout=0.3"), {"model": "din"})


def test_reports_and_attributes_reach_the_study_from_the_job(url: str) -> None:
    trial = link(url)
    assert trial.report(1, 0.6) is False
    trial.record({"best_epoch": 1, "gate_mean": None})
    [stored] = optuna.load_study(study_name="s", storage=open_storage(url, create=False)).trials
    assert stored.intermediate_values == {1: 0.6}
    assert stored.user_attrs == {"best_epoch": 1, "gate_mean": None}
    assert (stored.state, stored.params) == (TrialState.RUNNING, POINT)


def test_the_pruners_answer_reaches_the_job(url: str) -> None:
    hopeless = optuna.pruners.ThresholdPruner(lower=0.5)
    assert link(url, hopeless).report(1, 0.6) is False
    assert link(url, hopeless).report(2, 0.4) is True


def test_a_trial_that_has_trained_its_last_epoch_is_not_pruned(url: str) -> None:
    hopeless = optuna.pruners.ThresholdPruner(lower=0.5)
    assert link(url, hopeless).report(1, 0.4, last=True) is False
