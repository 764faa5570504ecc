"""Which errors are a user's to mend."""

from __future__ import annotations

import json

import pytest
from hydra import compose, initialize_config_module

import conf
from sweeper.errors import exit_code_of, in_one_line, is_user_error


def raised_by(call: object) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it is
        call()  # type: ignore[operator]
    return caught.value


def test_what_hydra_refuses_without_a_type_of_its_own_is_the_users_to_mend() -> None:
    conf.register()

    def typed() -> None:
        with initialize_config_module("conf"):
            compose("config", overrides=["experiment=0"])

    error = raised_by(typed)
    assert type(error) is ValueError
    assert (is_user_error(error), exit_code_of(error)) == (True, 2)
    assert in_one_line(error) == "Config group override must be a string or a list. Got int"


def test_a_bug_is_not_whoever_called_it() -> None:
    error = raised_by(lambda: json.loads("{"))
    assert not is_user_error(error)
    assert in_one_line(error) is None
    assert exit_code_of(error) == 1
