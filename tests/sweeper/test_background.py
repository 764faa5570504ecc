"""Writing beside training."""

from __future__ import annotations

import threading

import pytest
import torch

from sweeper.background import Background, on_host


def test_work_is_done_beside_the_caller_and_in_order() -> None:
    background, may_end, done = Background(), threading.Event(), []

    def first() -> None:
        may_end.wait(10)
        done.append(1)

    background.submit(first)
    assert done == []
    may_end.set()
    background.submit(lambda: done.append(2))
    background.wait()
    assert done == [1, 2]


def test_what_went_wrong_is_raised_once_at_the_next_call() -> None:
    background = Background()

    def fails() -> None:
        raise OSError("no space left on device")

    background.submit(fails)
    with pytest.raises(OSError, match="no space left"):
        background.submit(lambda: None)
    background.wait()


def test_a_copy_on_the_host_stays_as_it_was() -> None:
    weight = torch.ones(2)
    content = {"weights": {"a": weight}, "optimizer": [{"step": 3, "mean": weight}], "name": "x"}
    copied = on_host(content)
    weight.add_(1)
    assert copied["name"] == "x"
    assert copied["optimizer"][0]["step"] == 3
    for kept in (copied["weights"]["a"], copied["optimizer"][0]["mean"]):
        assert torch.equal(kept, torch.ones(2))
