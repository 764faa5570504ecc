"""What a user is shown as an option is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Glob
from hydra.errors import MissingConfigException
from hydra.plugins.completion_plugin import DefaultCompletionPlugin

from mdaf import conf
from mdaf.conf import options
from mdaf.messages.reporting import one_line


@contextmanager
def loader() -> Iterator[object]:
    conf.register()
    with initialize_config_module("mdaf.conf"):
        yield GlobalHydra.instance().config_loader()


@pytest.mark.parametrize("group", options.groups())
def test_every_list_of_options_holds_options_alone(group: str) -> None:
    """Hydra's help, errors, ``glob(*)`` and tab completion all take this list."""
    with loader() as config_loader:
        found = config_loader.get_group_options(group)  # type: ignore[attr-defined]
    assert set(options.options_of(group)) <= set(found)
    assert not [name for name in found if name.startswith(("_", "schema", "base"))]


def test_tab_completion_offers_no_internals() -> None:
    with loader() as config_loader:
        offered = DefaultCompletionPlugin(config_loader)._query("config", "model=")  # type: ignore[arg-type]
    assert "model=mdaf_mamba" in offered
    assert all(options.is_option(word.partition("=")[2]) for word in offered)


def test_a_glob_over_a_group_takes_its_options_alone() -> None:
    with loader() as config_loader:
        every = config_loader.get_group_options("model")  # type: ignore[attr-defined]
    assert Glob(include=["*"]).filter(every) == sorted(options.options_of("model"))


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("regularization=balansed", "did you mean regularization=balanced?"),
        ("model=mdaf_mmaba", "did you mean model=mdaf_mamba?"),
        ("data=userbehavior", "did you mean data=user_behavior?"),
        ("hydra/sweeper=regularisation", "did you mean hydra/sweeper=regularization?"),
        ("hydra/sweeper/sampler=tep hydra/sweeper=regularization", "did you mean hydra/sweeper/sampler=tpe?"),
        ("data=nothing", "data=nothing: no such option, expected one of amazon_2018, amazon_2023, "),
    ],
)
def test_an_option_that_is_none_is_one_line_with_what_was_meant(typed: str, said: str) -> None:
    with loader(), pytest.raises(MissingConfigException) as caught:
        compose("config", overrides=typed.split())
    assert said in one_line(caught.value)
    assert "\n" not in one_line(caught.value)
    assert "schema" not in one_line(caught.value)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("data.history_order=tme", "data.history_order: found tme, expected one of time, shuffled; did you mean time?"),
        ("model.fusion=gat", "did you mean gate?"),
        ("training.schedule=x", "training.schedule: found x, expected one of constant, cosine"),
        ("training.epochs=a", "training.epochs=a: found a, expected a whole number"),
        ("training.epochs", "training.epochs: found no value; type training.epochs=VALUE"),
    ],
)
def test_a_value_that_is_none_is_one_line_with_what_was_meant(typed: str, said: str) -> None:
    with loader(), pytest.raises(Exception) as caught:  # noqa: PT011 - Hydra has several
        compose("config", overrides=[typed])
    assert said in one_line(caught.value)
    assert "\n" not in one_line(caught.value)
