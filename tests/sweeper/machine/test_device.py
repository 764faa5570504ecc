"""Which device a run gets; devices that are not here are faked by what torch says of them."""

from __future__ import annotations

import pytest
import torch
from omegaconf import OmegaConf

from mdaf.errors import UserError
from mdaf.sweeper.machine.device import (
    _pin_with_several_threads,
    available_devices,
    choose_precision,
    return_cached_memory,
    select_device,
    set_up,
)
from mdaf.sweeper.training.stepping.microbatches import POSITIONS, default_positions
from tests.sweeper.tiny import ROOT


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    def fake(cuda: int = 0, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return fake


def test_auto_takes_the_best_device_that_is_there(machine) -> None:
    machine()
    assert select_device("auto") == torch.device("cpu")
    machine(mps=True)
    assert select_device("auto") == torch.device("mps")
    machine(cuda=2, mps=True)
    assert select_device("auto") == torch.device("cuda")
    assert available_devices() == ["cuda", "mps", "cpu"]


def test_one_of_several_gpus_can_be_named(machine) -> None:
    machine(cuda=2)
    assert select_device("cuda:1") == torch.device("cuda:1")


def test_what_names_no_gpu_uses_the_one_that_was_chosen(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(cuda=2)
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.setattr("mdaf.sweeper.machine.device._repeat_exactly", lambda: None)
    monkeypatch.setattr("mdaf.sweeper.machine.device._pin_with_several_threads", lambda: None)
    for name in ("cuda", "cpu", "cuda:1"):
        set_up(OmegaConf.create({"name": name, "threads": None}))
    assert current == [torch.device("cuda:1")]


@pytest.mark.parametrize("name", ["cuda", "mps", "cuda:0", "tpu", "cpu:x", ""])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(machine, name: str) -> None:
    machine()
    with pytest.raises(UserError, match=r"^device\.name: found .*choose auto or one of \['cpu'\]$"):
        select_device(name)
    machine(cuda=1)
    with pytest.raises(UserError):
        select_device("cuda:1")


def test_only_a_cpu_is_given_small_pieces_and_only_others_their_cache_back(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_positions(torch.device("cpu")) == POSITIONS
    assert default_positions(torch.device("mps")) is None
    returned = []
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: returned.append("mps"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: returned.append("cuda"))
    return_cached_memory(torch.device("cpu"))
    assert returned == []
    return_cached_memory(torch.device("mps"))
    return_cached_memory(torch.device("cuda"))
    assert returned == ["mps", "cuda"]


@pytest.mark.parametrize("said", [None, "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"])
def test_how_memory_is_had_is_chosen_unless_the_environment_says_it(
    machine, monkeypatch: pytest.MonkeyPatch, said: str | None
) -> None:
    machine(cuda=1)
    chosen: list[str] = []
    monkeypatch.setattr(torch._C, "_accelerator_setAllocatorSettings", chosen.append)
    monkeypatch.setattr("mdaf.sweeper.machine.device._repeat_exactly", lambda: None)
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
        monkeypatch.delenv(name, raising=False)
    if said is not None:
        monkeypatch.setenv(said, "max_split_size_mb:512")
    _pin_with_several_threads.cache_clear()
    for _ in range(2):
        assert set_up(OmegaConf.create({"name": "cuda", "threads": None})) == torch.device("cuda")
    _pin_with_several_threads.cache_clear()
    assert len(chosen) == (1 if said is None else 0)


def test_batches_are_loaded_without_workers() -> None:
    rooms = (ROOT / name for name in ("mdaf", "data", "model", "sweeper", "multirun"))
    sources = [path.read_text() for room in rooms for path in room.glob("**/*.py")]
    for word in ("DataLoader", "num_workers", "persistent_workers"):
        assert not any(word in source for source in sources)


@pytest.mark.parametrize("multiplies", [True, False])
def test_reduced_precision_is_for_devices_that_have_it(monkeypatch: pytest.MonkeyPatch, multiplies: bool) -> None:
    monkeypatch.setattr("mdaf.sweeper.machine.device.multiplies_bf16", lambda: multiplies)
    cpu = torch.device("cpu")
    assert choose_precision("fp32", cpu) == "fp32"
    with pytest.raises(UserError, match="precision: found tf32"):
        choose_precision("tf32", cpu)
    if multiplies:
        assert choose_precision("bf16", cpu) == "bf16"
    else:
        with pytest.raises(UserError, match="precision: found bf16"):
            choose_precision("bf16", cpu)
    with pytest.raises(UserError, match="precision: found bf16"):
        choose_precision("bf16", torch.device("mps"))
