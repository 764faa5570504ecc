"""Which errors are a user's to mend."""

from __future__ import annotations

import json
import logging
import os
import runpy
import shlex
import signal

import pytest
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser

from mdaf import conf
from mdaf.messages import logs, reporting
from mdaf.messages.reporting import exit_code_of, in_one_line, is_user_error, reported_in_one_line
from mdaf.processes import children


def raised_by(call: object) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it is
        call()  # type: ignore[operator]
    return caught.value


def test_what_hydra_refuses_without_a_type_of_its_own_is_the_users_to_mend() -> None:
    conf.register()

    def typed() -> None:
        with initialize_config_module("mdaf.conf"):
            compose("config", overrides=["experiment=0"])

    error = raised_by(typed)
    assert type(error) is ValueError
    assert (is_user_error(error), exit_code_of(error)) == (True, 2)
    assert in_one_line(error) == "Config group override must be a string or a list. Got int"


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("seed=", "seed=: found nothing, expected a whole number"),
        ("training.learning_rate=fast", "training.learning_rate=fast: found fast, expected a number"),
        (
            "alert.command=false",
            "alert.command=false: found one value, expected a list; type 'alert.command=[\"false\"]'",
        ),
        ("alert.command=echo", "alert.command=echo: found one value, expected a list; type 'alert.command=[echo]'"),
        (
            "training.ranking_at=3",
            "training.ranking_at=3: found one value, expected a list; type 'training.ranking_at=[3]'",
        ),
        ("alert.on={a:1}", "alert.on={a:1}: found a mapping, expected a list, as 'alert.on=[VALUE]'"),
        ("alert=x", "alert=x: found one value, but alert has keys of its own; set them, as alert.KEY=VALUE"),
        ("alert=[1]", "alert=[1]: found a list, but alert has keys of its own; set them, as alert.KEY=VALUE"),
        ("training.monitor=[a]", "training.monitor=[a]: found a list, expected one text; type training.monitor=a"),
        ("seed=[1, 2]", "seed=[1, 2]: found [1, 2], expected a whole number; for a run with each, type -m seed=1,2"),
        (
            "model=[din,bst]",
            "model=[din,bst]: found a list, expected one option; for a run with each, type -m model=din,bst",
        ),
        ("seed=null", "seed=null: found null, expected a value"),
        ("seed={}", "seed={}: found {}, expected a whole number"),
        ("seed.x=1", "seed.x: seed is one value, with no keys below it; set seed itself"),
        (
            "training.monitor.x=1",
            "training.monitor.x: training.monitor is one value, with no keys below it; set training.monitor itself",
        ),
        (
            "sweep.objectives.first=val_auc",
            "sweep.objectives.first: found first, but sweep.objectives is a list; expected the number of an entry, "
            "from 0, or the whole list",
        ),
        ("seed=[1", "seed=[1: found no ] at its end; type 'seed=[1]'"),
        ("model={a:[1", "model={a:[1: found no ] and no } at its end; type 'model={a:[1]}'"),
        ("model.head=[1]]", "model.head=[1]]: found a ] that nothing opens; type it without"),
        ("seed=a)", "seed=a): a value with such characters needs quotes of its own, type 'seed=\"a)\"'"),
        (
            "data.path='it's.csv'",
            "data.path='it's.csv': a value with such characters needs quotes of its own, "
            """type 'data.path="it'"'"'s.csv"'""",
        ),
        (
            'data.path="a"b',
            'data.path="a"b: a value with such characters needs quotes of its own, '
            r"""type 'data.path="\"a\"b"'""",
        ),
        (
            "data.user_fields=[age,it's]",
            "data.user_fields=[age,it's]: cannot be read; words with such characters need quotes, "
            """type 'data.user_fields=[age,"it'"'"'s"]'""",
        ),
        (
            "data.user_fields=['age'",
            "data.user_fields=['age': found no ] at its end; type 'data.user_fields=['\"'\"'age'\"'\"']'",
        ),
        (
            "data.user_fields=[a.b=1,'c','ü']",
            "data.user_fields=[a.b=1,'c','ü']: words with such characters need quotes, "
            'type \'data.user_fields=["a.b=1","c","ü"]\'',
        ),
        (
            "data.user_fields=[model.head=[1,2],tracker=mlflow]",
            "data.user_fields=[model.head=[1,2],tracker=mlflow]: words with such characters need quotes, "
            'type \'data.user_fields=["model.head=[1,2]","tracker=mlflow"]\'',
        ),
    ],
)
def test_a_value_of_another_type_or_form_is_said_in_words_of_the_one_who_typed_it(
    typed: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf.register()
    monkeypatch.setattr("sys.argv", ["mdaf", typed])

    def composed() -> None:
        with initialize_config_module("mdaf.conf"):
            compose("config", overrides=[typed])

    assert in_one_line(raised_by(composed)) == line
    if "quotes" in line or "at its end" in line:
        OverridesParser.create().parse_overrides(shlex.split(line.partition("type ")[2]))


def test_a_bug_is_not_whoever_called_it() -> None:
    error = raised_by(lambda: json.loads("{"))
    assert not is_user_error(error)
    assert in_one_line(error) is None
    assert exit_code_of(error) == 1


@pytest.mark.parametrize("asked", [None, "0", "1"])
def test_a_process_that_a_command_starts_shows_tracebacks_only_where_the_user_asked_for_them(
    monkeypatch: pytest.MonkeyPatch, asked: str | None
) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    if asked is not None:
        monkeypatch.setenv("HYDRA_FULL_ERROR", asked)

    def as_imported_now() -> bool:
        return bool(runpy.run_path(reporting.__file__)["TRACEBACKS"])

    own = as_imported_now()
    monkeypatch.setattr(reporting, "TRACEBACKS", own)
    with reported_in_one_line():
        inherited = as_imported_now()
    assert own == inherited == (asked == "1")


def test_of_a_command_and_those_that_it_started_one_says_that_a_signal_came(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for parent in (os.getppid(), -1, None):  # ours and there, ours and gone, the shell
        monkeypatch.setattr(children, "_parent", parent)
        with pytest.raises(SystemExit, match="75"), reported_in_one_line():
            os.kill(os.getpid(), signal.SIGTERM)
        assert ("interrupted by SIGTERM" in capsys.readouterr().err) == (parent != os.getppid())


def test_torch_prints_no_statistics_of_a_cache_when_a_process_ends() -> None:
    from torch._subclasses import fake_tensor

    logs.set_up()
    assert not fake_tensor.log.isEnabledFor(logging.INFO)
