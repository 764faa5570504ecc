"""What is drawn at the end of a terminal stays there, and lines that anybody prints scroll above it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from rich.text import Text

from mdaf.terminal import screen
from tests.terminals import ShownByTerminal, on_a_terminal, screen_of

BLOCK = "trials  3 of 8 done\nbest    trial 2 with 0.93"


def block() -> Text:
    return Text(BLOCK)


def test_lines_of_every_kind_stand_above_the_block_and_it_is_gone_at_the_end() -> None:
    def work() -> None:
        log = logging.getLogger("tests.screen")
        before = logging.StreamHandler(sys.stderr)  # one that was set up before anything was drawn
        log.addHandler(before)
        with screen.shown(block):
            log.warning("a log line")
            print("a line on standard output")
            print("a line on standard error", file=sys.stderr)
        print("after it")
        log.removeHandler(before)

    said = on_a_terminal(work)
    lines = ["a log line", "a line on standard output", "a line on standard error"]
    assert [line for line in screen_of(said) if line] == [*lines, "after it"]
    drawn_last = screen_of(said[: said.rindex("0.93") + 4])
    assert [line.rstrip() for line in drawn_last if line.strip()][-2:] == BLOCK.splitlines()


def test_what_a_process_prints_scrolls_above_the_block_too() -> None:
    def work() -> None:
        with screen.shown(block, processes=True):
            subprocess.run(["echo", "from another process"], stdout=sys.stdout, check=True)
            assert not os.isatty(sys.stdout.fileno())  # a job's process draws nothing of its own across the block
            screen.add(lambda: None)()

    lines = [line.rstrip() for line in screen_of(on_a_terminal(work)) if line.strip()]
    assert lines == ["from another process"]


def test_a_bar_of_another_library_is_one_line_above_the_block() -> None:
    def work() -> None:
        with screen.shown(block):
            for percent in (0, 50, 100):
                sys.stderr.write(f"\rtraining {percent}%")
                print("a line between")
            sys.stderr.write("\n")

    lines = [line.rstrip() for line in screen_of(on_a_terminal(work)) if line.strip()]
    assert lines == ["a line between"] * 3 + ["training 100%"]


def test_later_parts_stand_above_earlier_ones() -> None:
    def work() -> None:
        with screen.shown(block), screen.shown(lambda: Text("epoch 1/3")):
            pass

    said = on_a_terminal(work)
    drawn = screen_of(said[: said.index("epoch 1/3")] + said[said.index("epoch 1/3") :].partition("0.93")[0])
    assert [line.split()[0] for line in drawn if line.strip()] == ["epoch", "trials", "best"]


def test_a_terminal_that_is_made_narrower_keeps_no_copy_of_the_block() -> None:
    terminal = ShownByTerminal(80)
    with pytest.MonkeyPatch.context() as patch, os.fdopen(terminal.descriptor, "w", buffering=1) as stream:
        patch.setenv("TERM", "xterm")
        patch.setattr(sys, "stderr", stream)
        with screen.shown(lambda: Text("x" * 70)):
            terminal.resize(40)  # the line is two now
            screen.add(lambda: None)()
    said = terminal.said()
    assert said.index("\r\x1b[2K\x1b[1A\x1b[2K") > said.index("x" * 70)


@pytest.mark.parametrize("place", ["dumb", "pipe"])
def test_nothing_is_drawn_where_it_could_not_be_taken_away(
    place: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        monkeypatch.setenv("TERM", "dumb")
        with screen.shown(block):
            print("a line")

    run: Callable[[Callable[[], None]], str | None] = on_a_terminal if place == "dumb" else lambda call: call()
    said = run(work) or capfd.readouterr().out
    assert said == "a line\n"
