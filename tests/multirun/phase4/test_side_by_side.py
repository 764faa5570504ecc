"""Points that are trained at once, each on GPUs of its own: with commands that only say what they were given."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mdaf.hardware import gpus
from mdaf.multirun.phase4.side_by_side import Command, run, slots
from mdaf.processes.signals import Interrupted

SAYS = "import os, sys; print('on', os.environ['CUDA_VISIBLE_DEVICES'], flush=True); {}"


def command(name: str, then: str = "") -> Command:
    return Command(name, [sys.executable, "-S", "-c", SAYS.format(then or "pass")])


def test_each_command_has_its_slots_gpus_and_its_name_before_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    run([command("winner"), command("weak"), command("strong", "sys.exit(1)")], [["0", "2"], ["1"]])
    said = capsys.readouterr().err.splitlines()
    assert {"winner| on 0,2", "weak| on 1"} < set(said)
    assert len([line for line in said if line.startswith("strong| on ")]) == 1  # on what was free first


def test_if_one_is_interrupted_the_others_are_asked_to_leave(tmp_path: Path) -> None:
    """The other one waits until its standard input is closed, by which a process of this program is asked."""
    waits = f"sys.stdin.read(); open({str(tmp_path / 'left')!r}, 'w').close()"
    with pytest.raises(Interrupted, match="as its run was"):
        run([command("waits", waits), command("interrupted", "sys.exit(75)")], [["0"], ["1"]])
    assert (tmp_path / "left").exists()


@pytest.mark.parametrize(
    ("points", "device", "launcher", "expected"),
    [
        (2, {"name": "auto", "gpus": "all"}, None, [["0", "2"], ["1", "3"]]),
        (4, {"name": "cuda", "gpus": 3}, "replicas", [["0"], ["1"], ["2"]]),
        (4, {"name": "auto"}, None, [["0"], ["1"], ["2"], ["3"]]),  # of a version that had no such key
        (4, {"name": "cpu", "gpus": "all"}, None, []),
        (4, {"name": "cuda:1", "gpus": "all"}, None, []),
        (4, {"name": "auto", "gpus": "all"}, "ray", []),
    ],
)
def test_gpus_are_shared_out_over_points(
    monkeypatch: pytest.MonkeyPatch, points: int, device: dict[str, object], launcher: str | None, expected: object
) -> None:
    there(monkeypatch, 4, free=8e9)
    config = OmegaConf.create({"device": device})
    assert slots(points, config, launcher) == expected
    assert gpus.VISIBLE not in os.environ


@pytest.mark.parametrize(
    ("points", "free", "expected"),
    [
        (2, 80e9, [["0"], ["1"]]),
        (3, 80e9, [["0"], ["1"], ["0"]]),
        (5, 80e9, [["0"], ["1"], ["0"], ["1"]]),
        (5, 8e9, [["0"], ["1"]]),
        (5, 0, [["0"], ["1"]]),  # the driver does not say
    ],
)
def test_a_gpu_with_much_memory_trains_two_points_where_there_are_fewer_gpus_than_points(
    monkeypatch: pytest.MonkeyPatch, points: int, free: float, expected: object
) -> None:
    there(monkeypatch, 2, free)
    config = OmegaConf.create({"device": {"name": "auto", "gpus": "all"}})
    assert slots(points, config, None) == expected


def test_processes_that_share_a_gpu_are_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    says = Command(
        "one", [sys.executable, "-S", "-c", f"import os; print(os.environ.get('{gpus.SHARED}'), flush=True)"]
    )
    run([says], [["0"], ["0"]])
    run([says], [["0"], ["1"]])
    assert capsys.readouterr().err.splitlines() == ["one| 2", "one| None"]


def there(monkeypatch: pytest.MonkeyPatch, count: int, free: float) -> None:
    """So many GPUs with so many free bytes each."""
    monkeypatch.setattr(gpus, "_count", lambda: count)
    monkeypatch.setattr(gpus, "least_free_memory", lambda: free)
    for name in (gpus.VISIBLE, gpus.GIVEN):
        monkeypatch.delenv(name, raising=False)
