"""Writing beside training."""

from __future__ import annotations

import threading

import pytest
import torch

from mdaf.sweeper.runs.background import Background, HostCopy


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
    copied = HostCopy().of(content)
    weight.add_(1)
    assert copied["name"] == "x"
    assert copied["optimizer"][0]["step"] == 3
    for kept in (copied["weights"]["a"], copied["optimizer"][0]["mean"]):
        assert torch.equal(kept, torch.ones(2))


def test_the_next_copy_takes_the_memory_of_the_one_before_where_it_fits() -> None:
    copy = HostCopy()
    first = copy.of({"weights": {"a": torch.ones(2), "b": torch.ones(3)}})["weights"]
    places = {name: tensor.data_ptr() for name, tensor in first.items()}
    second = copy.of({"weights": {"a": torch.zeros(2), "b": torch.zeros(4)}})["weights"]
    assert second["a"].data_ptr() == places["a"]
    assert torch.equal(second["a"], torch.zeros(2))
    assert torch.equal(second["b"], torch.zeros(4))


def test_a_copy_that_is_begun_is_of_what_was_there_whoever_completes_it() -> None:
    history = [{"epoch": 1}]
    begun = HostCopy().begun({"history": history, "weights": {"a": torch.ones(2)}})
    history[0]["epoch"] = 7
    history.append({"epoch": 2})
    found = []
    thread = threading.Thread(target=lambda: found.append(begun()))
    thread.start()
    thread.join(10)
    assert found[0]["history"] == [{"epoch": 1}]
    assert torch.equal(found[0]["weights"]["a"], torch.ones(2))
