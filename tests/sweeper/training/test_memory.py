"""How many replicas are thought to fit, and what is learnt from what they took."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from mdaf.data.preparing.prepare import prepare_config
from mdaf.data.store.batches.columns import device_bytes
from mdaf.data.store.device_store import DeviceStore
from mdaf.hardware import gpus
from mdaf.sweeper.training.building.from_config import build_replicas, hyperparameters, settings
from mdaf.sweeper.training.memory import COPIES, SHARE, Capacity, Footprint, footprint, free_bytes
from tests.sweeper.tiny import composed

CPU = torch.device("cpu")
ONE = Footprint(weights=100, activations=600)


def test_the_estimate_holds_weights_gradient_and_moments_and_grows_with_the_batch(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    cfg = composed(f"data.root={tmp_path_factory.mktemp('stores')}")
    store = prepare_config(cfg.data)
    replica = build_replicas(cfg, store, [hyperparameters(cfg)], CPU)
    chosen = settings(cfg, CPU)

    def with_batch(rows: int) -> Footprint:
        step, training = replace(chosen.step, positions=None), replace(chosen.training, batch_size=rows)
        return footprint(replica, DeviceStore(store, CPU), replace(chosen, step=step, training=training))

    small, large = with_batch(100), with_batch(1000)
    assert small.weights == sum(p.numel() * 4 for p in replica.model.parameters())
    assert large.activations == pytest.approx(10 * small.activations, rel=1e-3)
    assert large.total == COPIES * large.weights + large.activations


def test_as_many_replicas_fit_as_the_free_memory_holds_but_always_one() -> None:
    assert Capacity().of(ONE, free=int(3.5 * ONE.total / SHARE), wanted=5) == 3
    assert Capacity().of(ONE, free=10**9, wanted=5) == 5
    assert Capacity().of(ONE, free=1, wanted=5) == 1


def test_what_training_took_corrects_the_next_estimate() -> None:
    capacity = Capacity(held=1000)
    capacity.learn(ONE, replicas=2, peak=1000 + 4 * ONE.total)
    assert capacity.of(ONE, free=int(4.5 * ONE.total / SHARE), wanted=5) == 2


@pytest.mark.parametrize("below", [0, 1])
def test_training_that_never_held_more_than_was_held_before_teaches_nothing(below: int) -> None:
    """A CPU's peak is of the whole process: it may be older than the group."""
    capacity = Capacity(held=1000)
    capacity.learn(ONE, replicas=2, peak=1000 - below)
    assert capacity.of(ONE, free=int(3.5 * ONE.total / SHARE), wanted=5) == 3


def test_replicas_that_did_not_fit_are_fewer_the_next_time() -> None:
    capacity, free = Capacity(), 10 * ONE.total
    capacity.overflowed(ONE, replicas=5, free=free)
    assert capacity.of(ONE, free, wanted=5) == 4
    capacity.overflowed(ONE, replicas=2, free=free)
    assert capacity.of(ONE, free, wanted=5) == 1


def test_of_many_replicas_that_did_not_fit_a_fifth_fewer_are_tried() -> None:
    capacity, free = Capacity(), 100 * ONE.total
    capacity.overflowed(ONE, replicas=40, free=free)
    assert capacity.of(ONE, free, wanted=40) == 32


@pytest.mark.parametrize(("processes", "expected"), [("1", 70), ("2", 30)])
def test_of_a_gpu_that_two_processes_share_each_plans_with_its_half(
    monkeypatch: pytest.MonkeyPatch, processes: str, expected: int
) -> None:
    held = {"memory_reserved": 30, "memory_allocated": 20}
    for name, count in held.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, count=count: count)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (60, 100))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=100))
    monkeypatch.setenv(gpus.SHARED, processes)
    assert free_bytes(torch.device("cuda")) == expected
    assert device_bytes(torch.device("cuda")) == 100 // int(processes)
