"""What lies in a run folder by the name of a file and is none is said in one line, and not waited for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mdaf.errors import UserError
from mdaf.files import plain
from mdaf.sweeper.hydra_ext.run_dirs import run_folder_for
from mdaf.sweeper.runs.checkpoint import DamagedError, read
from mdaf.sweeper.runs.reader import checkpoint_digest, read_config, read_metrics, read_overrides, read_result

READERS: dict[str, Callable[[Path], object]] = {
    "result.json": read_result,
    "metrics.csv": read_metrics,
    ".hydra/config.yaml": read_config,
    ".hydra/overrides.yaml": read_overrides,
    "best.pt": checkpoint_digest,
    "last.pt": lambda folder: read(folder / "last.pt"),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("make", [os.mkfifo, lambda file: os.symlink("/dev/zero", file)], ids=["pipe", "device"])
def test_a_pipe_or_a_device_by_the_name_of_a_runs_file_is_not_read(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    (tmp_path / ".hydra").mkdir()
    make(tmp_path / name)
    with pytest.raises((UserError, DamagedError), match=rf"{name}\b.*it is no regular file"):
        READERS[name](tmp_path)


def test_a_pipe_beside_the_runs_of_a_command_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "day/other/.hydra").mkdir(parents=True)
    os.mkfifo(tmp_path / "day/other/.hydra/overrides.yaml")
    own = str(tmp_path / "day/own")
    assert run_folder_for("auto", "run", own, ["seed=1"], "RUN") == own


def test_a_text_that_no_run_can_have_left_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "result.json").write_text('{"state": "complete"}')
    monkeypatch.setattr(plain, "LARGEST_BYTES", 10)
    with pytest.raises(UserError, match=r"result.json: cannot be read \(it is larger than the 10 bytes"):
        read_result(tmp_path)
