"""A key that was not meant is told from one that was, and from one that somebody reads."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from mdaf import conf
from mdaf.errors import DataError
from mdaf.naming.config_keys import check_keys, keys_of, meant_key


def composed(*overrides: str) -> DictConfig:
    conf.register()
    with initialize_config_module("mdaf.conf"):
        return compose("config", overrides=list(overrides), return_hydra_config=True)


@pytest.fixture(scope="module")
def known() -> list[str]:
    return keys_of(composed())


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("training.lr", "training.learning_rate"),
        ("training.epoch", "training.epochs"),
        ("trainign.epochs", "training.epochs"),
        ("training.dropout", "regularization.dropout"),
        ("dropuot", "regularization.dropout"),
        ("wd", "regularization.weight_decay"),
        ("regularisation", "regularization"),
        ("model.sequence.hiden", "model.sequence.hidden"),
        ("device.guard.patiense", "device.guard.patience"),
        ("hydra/sweper", "hydra.sweeper"),
        ("hydra.launchr", "hydra.launcher"),
        ("zzz", None),
        ("training.zzz", None),
    ],
)
def test_the_key_that_was_meant_is_named(known: list[str], typed: str, meant: str | None) -> None:
    assert meant_key(typed, known) == meant


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=din", "+model.embedding.behaviour=4"],  # a mapping takes any key
        ["++training.epochs=3"],
        ["+tag=x", "hydra.run.dir=runs/${tag}"],
        ["+p.y=3", "training.epochs=${p.y}"],
        ["+training.twice=6", "training.epochs=${.twice}"],
        ["+hydra.job.env_set.A=b"],
    ],
)
def test_a_key_that_something_reads_may_be_added(overrides: list[str]) -> None:
    check_keys(composed(*overrides))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["+foo=1"], "foo: nothing reads this key; "),
        (["+training.lr=1"], "training.lr: nothing reads this key; did you mean training.learning_rate?"),
        (["+device.guard.factr=2"], "device.guard.factr: nothing reads this key; did you mean device.guard.factor?"),
        (["+model.sequence.stat=2"], "model.sequence.stat: nothing reads this key; did you mean model.sequence.state?"),
        (["++data.lenght=2"], "data.lenght: nothing reads this key; did you mean data.length?"),
        (["+epochs=3"], "epochs: nothing reads this key; did you mean training.epochs?"),
        (["+seed2=3", "training.epochs=${seed}"], "seed2: nothing reads this key; did you mean seed?"),
    ],
)
def test_an_added_key_that_nothing_reads_is_refused_with_the_one_that_was_meant(
    overrides: list[str], said: str
) -> None:
    with pytest.raises(DataError) as error:
        check_keys(composed(*overrides))
    assert str(error.value).startswith(said)
