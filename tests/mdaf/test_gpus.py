"""The GPUs that a process may use, by what the driver lists and what was typed."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

import pytest

from mdaf import gpus
from mdaf.errors import UserError


@pytest.fixture(autouse=True)
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_count", lambda: 4)
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    monkeypatch.delenv(gpus.GIVEN, raising=False)


@pytest.mark.parametrize(
    ("named", "seen"),
    [
        (None, ["0", "1", "2", "3"]),
        ("2, 0", ["2", "0"]),
        ("GPU-1f,3", ["GPU-1f", "3"]),
        ("1,9,2", ["1"]),  # CUDA looks at nothing behind a number that is none
        ("-1", []),
        ("", []),
    ],
)
def test_a_process_sees_what_cuda_would_see(
    monkeypatch: pytest.MonkeyPatch, named: str | None, seen: list[str]
) -> None:
    if named is not None:
        monkeypatch.setenv(gpus.VISIBLE, named)
    assert gpus.visible() == seen


class Driver:
    """A driver that notes what it was asked for."""

    def __init__(self, refuses: bool = False) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.refuses = refuses

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*_: object) -> int:
            self.asked.append((name, os.environ.get(gpus.VISIBLE)))
            return 100 if self.refuses else 0

        return call


@pytest.mark.parametrize("refuses", [False, True])
def test_a_context_is_created_once_on_the_gpu_that_was_taken(monkeypatch: pytest.MonkeyPatch, refuses: bool) -> None:
    driver = Driver(refuses)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    for name, value in (("_chosen", None), ("_before", None), ("_context", None)):
        monkeypatch.setattr(gpus, name, value)
    monkeypatch.setenv(gpus.VISIBLE, "0,1,2,3")
    gpus.take(["2", "3"])
    for _ in range(2):
        gpus.begin_context()
        assert gpus._context is not None
        gpus._context.join()
    assert driver.asked[0] == ("cuInit", "2,3")
    assert len(driver.asked) == (1 if refuses else 3)


def test_without_a_gpu_no_context_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpus.VISIBLE, "")
    monkeypatch.setattr(gpus, "_context", None)
    gpus.begin_context()
    assert gpus._context is None


def test_the_numbers_that_are_typed_count_among_the_gpus_that_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpus.VISIBLE, "3,1,0")
    assert gpus.chosen("all") == gpus.chosen(None) == ["3", "1", "0"]
    assert gpus.chosen(2) == ["3", "1"]
    assert gpus.chosen([0, 2]) == ["3", "0"]


def test_a_process_that_was_given_its_gpus_takes_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in gpus.environment_of(["2"]).items():
        monkeypatch.setenv(name, value)
    assert gpus.chosen([0, 3]) == ["2"]


@pytest.mark.parametrize("wanted", [0, -1, True, 1.5, "two", [], [0, 0], [-1], ["a"], {"a": 1}])
def test_anything_else_than_all_a_number_or_a_list_of_numbers_is_refused(wanted: object) -> None:
    with pytest.raises(UserError, match=r"device\.gpus: found .*, expected all, how many, or a list"):
        gpus.numbers_in(wanted)


@pytest.mark.parametrize(("wanted", "found"), [(5, "found 5"), ([0, 7], "found number 7")])
def test_a_gpu_that_is_not_there_is_said_with_those_that_are(wanted: object, found: str) -> None:
    with pytest.raises(UserError, match=rf"device\.gpus: {found}, and 4 GPUs are seen here, numbers 0 to 3"):
        gpus.chosen(wanted)


def test_another_first_gpu_is_named_to_cuda_and_the_numbers_keep_their_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_chosen", None)
    monkeypatch.setattr(gpus, "_before", None)
    monkeypatch.setenv(gpus.VISIBLE, "0,1,2,3")
    gpus.take(["0", "1"])
    assert gpus.os.environ[gpus.VISIBLE] == "0,1,2,3"  # CUDA takes the first one by itself
    gpus.take(gpus.chosen([2, 3]))
    assert gpus.os.environ[gpus.VISIBLE] == "2,3"
    assert gpus.chosen([2, 3]) == ["2", "3"]
