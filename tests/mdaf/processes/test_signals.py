"""Signals that ask a process to leave: what the first one does, what counts as impatience, which are left alone."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from mdaf.data import __main__ as program
from mdaf.data.store.writer import StoreWriter
from mdaf.errors import DataError
from mdaf.processes import signals

TAKEN = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGXCPU"]


@pytest.fixture(autouse=True)
def defaults() -> object:
    """Every signal as a program finds it that was started in the foreground."""
    before = {getattr(signal, name): signal.getsignal(getattr(signal, name)) for name in TAKEN}
    for number in before:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("name", TAKEN)
def test_the_first_signal_is_raised_wherever_the_process_is(name: str) -> None:
    with signals.listening(), pytest.raises(signals.Interrupted, match=f"by {name}"):
        signal.raise_signal(getattr(signal, name))
    assert signal.getsignal(getattr(signal, name)) is signal.SIG_DFL


def cut_short(kind: type[Exception]) -> None:
    """What a library does that a signal finds with something half done."""
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        raise kind("half done")


def test_an_error_that_takes_the_place_of_a_signal_is_that_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(signals.Interrupted, match="by SIGTERM"), signals.listening(), signals.listening():
        cut_short(AttributeError)
    monkeypatch.chdir(tmp_path)
    for kind in (AttributeError, DataError):
        monkeypatch.setattr(program, "_compose", lambda *_, kind=kind: cut_short(kind))
        with pytest.raises(SystemExit, match=str(signals.EXIT_RESUMABLE)):
            program.main(["prepare", "data=synthetic_tiny"])
        assert capsys.readouterr().err.startswith("interrupted by SIGTERM; nothing is left half written")


def test_an_error_after_a_signal_that_was_only_noted_is_its_own() -> None:
    with pytest.raises(ValueError, match="half done"), signals.listening(), signals.deferred():
        cut_short(ValueError)


@pytest.mark.parametrize("name", TAKEN)
def test_work_that_defers_it_is_asked_and_not_cut(name: str) -> None:
    with signals.listening(), signals.deferred():
        signal.raise_signal(getattr(signal, name))
        assert signals.asked() == f"by {name}"
    assert signals.asked() is None


@pytest.mark.parametrize(
    ("second", "without_waiting"),
    [("SIGTERM", True), ("SIGINT", True), ("SIGHUP", False), ("SIGUSR1", False)],
    ids=lambda value: str(value),
)
def test_impatience_is_the_same_signal_again_or_ctrl_c(second: str, without_waiting: bool) -> None:
    with signals.listening(), signals.deferred():
        signal.raise_signal(signal.SIGTERM)
        if without_waiting:
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(getattr(signal, second))
        else:
            signal.raise_signal(getattr(signal, second))
        assert signals.asked() == "by SIGTERM"


def test_a_terminal_that_closes_says_so_more_than_once_and_a_parent_that_leaves_says_it_too() -> None:
    with signals.listening(), signals.deferred():
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        signals.hang_up()
        assert signals.asked() == "by SIGHUP"


def someone_elses(number: int, frame: object) -> None:
    """Stands for what submitit does to queue a job again."""


@pytest.mark.parametrize("kept", [signal.SIG_IGN, someone_elses], ids=["nohup", "submitit"])
def test_a_signal_that_somebody_ignores_or_handles_is_left_to_them(kept: Callable[..., None]) -> None:
    for name in ("SIGHUP", "SIGUSR2"):
        signal.signal(getattr(signal, name), kept)
    with signals.listening(), signals.deferred():
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGUSR2)
        assert signals.asked() is None


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_preparing_that_a_signal_ends_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    def interrupted(self: StoreWriter, *arguments: object) -> None:
        signal.raise_signal(getattr(signal, name))

    monkeypatch.setattr(StoreWriter, "events", interrupted)
    with pytest.raises(SystemExit, match=str(signals.EXIT_RESUMABLE)):
        program.main(["prepare", "data=synthetic_tiny", f"data.root={tmp_path}/stores"])
    said = capsys.readouterr()
    assert said.err == f"interrupted by {name}; nothing is left half written: the same command begins again\n"
    assert said.out == ""
    assert list((tmp_path / "stores").iterdir()) == []
