"""What a run leaves is whole or not there."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from mdaf.sweeper.runs import checkpoint
from mdaf.sweeper.runs.checkpoint import Position, Saved
from mdaf.sweeper.runs.folder import COLUMNS, FolderError, RunFolder
from mdaf.sweeper.runs.reader import checkpoint_digest, read_result


def test_metrics_have_the_same_columns_with_nothing_where_nothing_applies(tmp_path: Path) -> None:
    RunFolder(tmp_path).write_metrics([{"epoch": 1, "val_auc": 0.5, "gate_mean": None}])
    header, row = (tmp_path / "metrics.csv").read_text().splitlines()
    assert tuple(header.split(",")) == COLUMNS
    assert dict(zip(COLUMNS, row.split(","), strict=True))["gate_mean"] == ""


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before_it(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_checkpoint("last.pt", {"epoch": 1})
    with pytest.raises(Exception, match="pickle"):
        folder.write_checkpoint("last.pt", {"epoch": 2, "cannot": lambda: None})
    assert torch.load(tmp_path / "last.pt", weights_only=True) == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_result_that_was_written_is_read_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "new")
    assert read_result(folder.path) is None
    written = {"state": "complete", "objective": 0.5, "versions": {"torch": "2"}}
    folder.write_result(written)
    assert read_result(folder.path) == written


def test_the_best_state_is_written_once_and_stays_when_a_worse_one_follows(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.save(state(1), is_best=True)
    assert (tmp_path / "best.pt").samefile(tmp_path / "last.pt")
    folder.save(state(2))
    assert [found.position.epoch for found in folder.saved()] == [3, 2]
    assert torch.load(tmp_path / "best.pt", weights_only=True)["epoch"] == 1
    folder.finished()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "last.pt", "metrics.csv"]


@pytest.fixture(params=[True, False], ids=["CPU", "GPU: in the background"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the weights of a state are said to lie."""
    monkeypatch.setattr("mdaf.sweeper.runs.folder._on_cpu", lambda state: request.param)


@pytest.mark.usefixtures("device")
def test_the_best_weights_are_kept_in_memory_until_a_state_is_saved_and_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, weight = RunFolder(tmp_path), torch.ones(2)
    folder.keep_best(state(1, weight))
    weight += 1  # training goes on
    best_so_far = state(2, weight)
    folder.keep_best(best_so_far)
    weight += 1
    best_so_far.history.append({"epoch": 3, "val_auc": 0.4})
    assert not list(tmp_path.iterdir())
    folder.save(state(3, weight))
    weight += 1
    folder.wait()
    best, last = (torch.load(tmp_path / name, weights_only=True) for name in ("best.pt", "last.pt"))
    assert [(one["epoch"], one["weights"]["weight"].tolist()) for one in (best, last)] == [(2, [2, 2]), (3, [3, 3])]
    folder.save(state(4, weight))
    folder.wait()
    assert torch.load(tmp_path / "best.pt", weights_only=True)["epoch"] == 2
    folder.save(state(5, weight), is_best=True)
    folder.keep_best(state(6, weight + 1))
    assert torch.load(tmp_path / "best.pt", weights_only=True)["weights"]["weight"].tolist() == [4, 4]
    folder.save_best()
    assert torch.load(tmp_path / "best.pt", weights_only=True)["weights"]["weight"].tolist() == [5, 5]


@pytest.mark.usefixtures("device")
def test_a_state_whose_best_weights_cannot_be_written_leaves_the_one_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path)
    for epoch in (1, 2):
        folder.save(state(epoch), is_best=epoch == 1)
    folder.keep_best(state(3))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "put", put_failing("best.pt"))
        for epoch in (4, 5):
            with pytest.raises(FolderError, match=r"best\.pt cannot be written"):
                save(folder, state(epoch))
    assert folder.saved()[0].position.epoch == 3
    assert torch.load(tmp_path / "best.pt", weights_only=True)["epoch"] == 1
    folder.save(state(6))
    assert folder.saved()[0].position.epoch == 7
    assert torch.load(tmp_path / "best.pt", weights_only=True)["epoch"] == 3


@pytest.mark.usefixtures("device")
def test_the_best_weights_of_a_state_that_cannot_be_written_are_kept_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, weight = RunFolder(tmp_path), torch.ones(2)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "put", put_failing("last.pt"))
        with pytest.raises(FolderError, match=r"last\.pt cannot be written"):
            save(folder, state(1, weight), is_best=True)
    weight += 1
    save(folder, state(2, weight))
    best = torch.load(tmp_path / "best.pt", weights_only=True)
    assert (best["epoch"], best["weights"]["weight"].tolist()) == (1, [1, 1])


def test_the_best_weights_are_written_while_the_last_epoch_is_trained(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.record([{"epoch": 1}], state(1), aside=True)
    folder.wait()
    assert not (tmp_path / "best.pt").exists()
    folder.record([{"epoch": 1}, {"epoch": 2}], aside=True, one_is_left=True)
    folder.wait()
    assert torch.load(tmp_path / "best.pt", weights_only=True)["epoch"] == 1
    save(folder, state(3), is_best=True)
    assert torch.load(tmp_path / "best.pt", weights_only=True)["epoch"] == 3


def test_best_weights_are_not_written_before_a_state_that_would_be_older(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    save(folder, state(1), is_best=True)
    folder.record([{"epoch": 2}], state(2), aside=True, one_is_left=True)
    folder.wait()
    assert torch.load(tmp_path / "best.pt", weights_only=True)["epoch"] == 1
    save(folder, state(3))
    assert torch.load(tmp_path / "best.pt", weights_only=True)["epoch"] == 2


def test_the_digest_of_a_checkpoint_is_that_of_its_file_under_either_name(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for epoch, is_best in ((1, True), (2, False), (3, True)):
        folder.save(state(epoch, torch.arange(100_000.0) + epoch), is_best=is_best)
        assert checkpoint_digest(tmp_path) == hashlib.sha256((tmp_path / "best.pt").read_bytes()).hexdigest()
    (tmp_path / "best.pt").write_bytes(b"another file")
    assert checkpoint_digest(tmp_path) == hashlib.sha256(b"another file").hexdigest()


def test_where_a_file_cannot_have_two_names_the_best_state_is_written_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    folder = RunFolder(tmp_path)
    for epoch in (1, 2):
        folder.save(state(epoch), is_best=True)
    assert [found.position.epoch for found in folder.saved()] == [3, 2]
    assert torch.load(tmp_path / "best.pt", weights_only=True)["epoch"] == 2


def save(folder: RunFolder, one: Saved, *, is_best: bool = False) -> None:
    """Saves a state and waits until it is on the disk."""
    folder.save(one, is_best=is_best)
    folder.wait()


def put_failing(name: str) -> Any:
    """``checkpoint.put`` on a disk without room for the file ``name``."""
    put_of = checkpoint.put

    def put(path: Path, *rest: Any) -> None:
        if path.name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        put_of(path, *rest)

    return put


def state(epochs: int, weight: torch.Tensor | None = None) -> Saved:
    history = [{"epoch": epoch, "val_auc": 0.5} for epoch in range(1, epochs + 1)]
    return Saved(
        Position(epochs + 1, 0),
        history,
        {"weight": torch.ones(2) if weight is None else weight},
        [],
        None,
        42,
        "config",
        "data",
    )
