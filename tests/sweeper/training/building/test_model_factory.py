"""From the model group to a model, or to one line that says what does not fit."""

from __future__ import annotations

import re

import pytest
from hydra import compose, initialize_config_module
from hydra.errors import ConfigCompositionException

from mdaf import conf
from mdaf.errors import UserError
from mdaf.sweeper.training.building.model_factory import builder, by_gradient
from tests.model.samples import SCHEMA
from tests.model.zoo import node


def test_estimators_are_told_from_what_is_trained_by_what_their_class_declares() -> None:
    assert by_gradient(node("dcnv3"))
    assert not by_gradient(node("boosted"))


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("mdaf.model.mdaf.MDAFF", "mdaf.model.mdaf has no MDAFF; did you mean MDAF?"),
        ("mdaf.model.mdaf.Head", "found mdaf.model.mdaf.Head, expected a subclass of mdaf.model.ctr.CTRModel"),
        ("model.nowhere.Model", "Python finds no module mdaf.model.nowhere; "),
        ("model", "found model, expected a class of mdaf.model, or one of your own, such as mine.Model"),
    ],
)
def test_what_is_no_model_is_refused(target: str, said: str) -> None:
    with pytest.raises(UserError, match=rf"^model\._target_: .*{re.escape(said)}"):
        by_gradient(node("dcnv3", f"model._target_={target}"))


@pytest.mark.parametrize(
    ("name", "override", "said"),
    [
        ("dcnv3", "model.without=[behavior]", "model.without: behavior is no field of the data, which has "),
        ("dcnv3", "model.without=[user,item,category,hour,behaviour,gap]", "model: no field is left to read"),
        ("din", "model.without=[item,category]", "model: DIN weighs events against the candidate"),
        ("mdaf_bst", "model.sequence.heads=3", "model: attention: 128 channels do not divide among 3 heads"),
        ("dcnv3", "model.embedding=3", "model: DCNv3 splits its input in halves: got 21 channels"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_refused_in_one_line(name: str, override: str, said: str) -> None:
    schema = SCHEMA.without(["hour"]) if "embedding" in override else SCHEMA
    with pytest.raises(UserError) as refusal:
        builder(node(name, override), schema)()
    assert str(refusal.value).startswith(said)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("override", ["model.sequence.kind=lstm", "data.history_order=random", "model.fusion=sum"])
def test_a_choice_that_is_not_there_is_refused_while_composing(override: str) -> None:
    conf.register()
    with initialize_config_module("mdaf.conf"), pytest.raises(ConfigCompositionException, match=override):
        compose("config", overrides=[override])
