"""The GPUs that a process may use, by what the driver lists and what was typed."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import ModuleType

import pytest

from mdaf.errors import UserError
from mdaf.hardware import gpus


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


class Driver:
    """CUDA's driver, which notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., int]:
        return lambda *_: self.asked.append(name) or 0


def wait_for_threads() -> None:
    for thread in threading.enumerate():
        if thread.name == "start CUDA":
            thread.join(10)


def test_the_driver_is_started_before_torch_is_imported_and_not_again(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    monkeypatch.setattr(gpus.ctypes, "CDLL", lambda name: driver)
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    gpus.wake()
    wait_for_threads()
    assert driver.asked == []
    monkeypatch.delitem(sys.modules, "torch")
    gpus.wake()
    wait_for_threads()
    assert driver.asked == ["cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain"]


def test_without_a_driver_nothing_is_started(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def absent(name: str) -> object:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(gpus.ctypes, "CDLL", absent)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    gpus.wake()
    wait_for_threads()
    assert capfd.readouterr().err == ""
