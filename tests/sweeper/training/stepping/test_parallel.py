"""Micro-batches that several threads compute at once: the gradient is that of one after the other."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from mdaf.data.preparing.prepare import prepare_config
from mdaf.data.store.device_store import DeviceStore
from mdaf.data.store.event_store import EventStore
from mdaf.errors import UserError
from mdaf.model.mdaf import MDAF
from mdaf.sweeper.training.building.from_config import build_replicas, hyperparameters, settings
from mdaf.sweeper.training.evaluating.evaluation import predict
from mdaf.sweeper.training.replicas import Replicas
from mdaf.sweeper.training.stepping.parallel import Sharing, can_share
from mdaf.sweeper.training.stepping.step import Stepper
from tests.model.zoo import MODELS, trained_by_gradient, zoo_model
from tests.sweeper.tiny import composed

CPU = torch.device("cpu")
SMALL = ("data=synthetic_tiny", "device=cpu", "regularization=balanced", "training.batch_size=512")
SHARED = [name for name in MODELS if trained_by_gradient(name)]
ROWS = 512


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EventStore:
    root = tmp_path_factory.mktemp("stores")
    return prepare_config(composed(f"data.root={root}").data)


@pytest.fixture(autouse=True)
def any_work_is_enough_and_any_table_is_deferred(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("mdaf.sweeper.machine.threads.WORTH_THREADS", 1)
    monkeypatch.setattr("mdaf.sweeper.training.stepping.step.WORTH_THREADS", 1)
    monkeypatch.setattr("mdaf.sweeper.training.optim.replica_optimizers.DEFERRED_ROWS", 100)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Run:
    """Steps of two replicas on ``threads`` threads, and what each leaves: losses, logits, gradients."""

    def __init__(self, store: EventStore, threads: int, *overrides: str, **changes: Any) -> None:
        torch.set_num_threads(threads)
        cfg = composed(*overrides, tiny=SMALL)
        one = hyperparameters(cfg)
        points = [one, replace(one, seed=7, dropout=0.5, label_smoothing=0.0)]
        self.replicas = build_replicas(cfg, store, points, CPU)
        self.store = DeviceStore(store, CPU)
        self.stepper = Stepper(self.replicas, self.store, replace(settings(cfg, CPU).step, **changes))
        self.gradients: dict[str, Tensor] = {}
        self.steps: list[tuple[Tensor, Tensor]] = []
        self._step, self.replicas.step = self.replicas.step, self._remember  # type: ignore[method-assign]

    def take(self, steps: int) -> Run:
        self.replicas.model.train()
        rows = self.store.rows("train")[: steps * ROWS].expand(2, -1)
        for number, chosen in enumerate(rows.split(ROWS, dim=1)):
            self.steps.append(self.stepper.step(chosen, number, self.store.schema.length))
        self.replicas.settle()
        return self

    def _remember(self, clip_norm: float | None) -> None:
        named = self.replicas.model.named_parameters()
        self.gradients = {name: p.grad.clone() for name, p in named if p.grad is not None}
        deferred = self.replicas._optimizers._deferred
        tables = deferred.tables if deferred is not None else {}
        self.gradients |= {name: table._gradient.clone() for name, table in tables.items()}
        self._step(clip_norm)

    def weights(self) -> dict[str, Tensor]:
        return dict(self.replicas.model.named_parameters())


def assert_close(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        scale = float(tensor.abs().max())
        torch.testing.assert_close(other[name], tensor, rtol=1e-4, atol=2e-5 * scale, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("name", SHARED)
def test_loss_logits_and_every_gradient_are_those_of_one_micro_batch_after_the_other(
    name: str, store: EventStore
) -> None:
    first, second = (Run(store, threads, f"model={name}").take(1) for threads in (1, 3))
    assert len(second.stepper._copies) in (0, 3)
    assert len(second.stepper._copies) == 3 or not second.replicas.separable
    assert len(first.gradients) == len(list(first.replicas.model.named_parameters()))
    for one, other in zip(first.steps[0], second.steps[0], strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)
    assert_close(first.gradients, second.gradients)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_results_are_the_same_bit_for_bit_whichever_thread_ends_first(
    precision: str, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [Run(store, 2, precision=precision)]
    gather, calls = DeviceStore.gather, itertools.count()
    for period in (2, 3):  # every second or third micro-batch begins later

        def late(self: DeviceStore, *arguments: Any, period: int = period) -> Any:
            time.sleep(0.02 * (next(calls) % period == 0))
            return gather(self, *arguments)

        runs.append(Run(store, 2, precision=precision))
        monkeypatch.setattr(DeviceStore, "gather", late)
        runs[-1].take(3)
    runs[0].take(3)
    for other in runs[1:]:
        assert all(map(torch.equal, itertools.chain(*runs[0].steps), itertools.chain(*other.steps)))
        assert all(torch.equal(weight, other.weights()[name]) for name, weight in runs[0].weights().items())


def test_steps_learn_what_they_learn_on_one_thread(store: EventStore) -> None:
    one, three = (Run(store, threads).take(4) for threads in (1, 3))
    for (loss, _), (other, _) in zip(one.steps, three.steps, strict=True):
        torch.testing.assert_close(loss, other, rtol=1e-3, atol=1e-4)


def test_an_exception_of_any_thread_ends_the_step_in_the_calling_one(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, gather, calls = Run(store, 2), DeviceStore.gather, itertools.count()

    def short(self: DeviceStore, *arguments: Any) -> Any:
        if next(calls) == 1:
            raise MemoryError("can't allocate memory")
        return gather(self, *arguments)

    monkeypatch.setattr(DeviceStore, "gather", short)
    with pytest.raises(MemoryError, match="can't allocate"):
        run.take(1)
    assert torch.get_num_threads() == 2


def test_scores_are_the_same_bit_for_bit_on_several_threads_with_passes_of_their_own(store: EventStore) -> None:
    run = Run(store, 1)
    rows = run.store.rows("train").expand(2, -1)
    beats: list[int] = []
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(predict(run.replicas, run.store, "train", rows, 512, beat=partial(beats.append, threads)))
    for other in found[1:]:
        assert torch.equal(found[0].logits, other.logits)
        assert found[0].gate is not None
        assert other.gate is not None
        assert torch.equal(found[0].gate, other.gate)
    assert set(beats) == {1, 2, 3}


@pytest.mark.parametrize("changes", [{"micro_batch": 100}, {"positions": None}])
def test_a_step_whose_size_is_set_computes_one_micro_batch_after_the_other(
    changes: dict[str, Any], store: EventStore
) -> None:
    assert Run(store, 2, **changes).take(1).stepper._copies == []


class Counting(MDAF):
    """A model of somebody else, which may count its batches."""


def test_a_class_that_does_not_say_so_is_not_shared_even_if_its_base_does() -> None:
    model = zoo_model("mdaf_mamba")
    assert can_share(model)
    model.__class__ = Counting
    assert not can_share(model)


def test_a_copy_has_the_tensors_of_the_model_and_dropout_of_its_own(store: EventStore) -> None:
    replicas: Replicas = Run(store, 1).replicas
    replicas.draw_dropout(0)
    model, sharing = replicas.model, Sharing(replicas.model)
    replicas.mask_from(64, sharing.model)
    mine, own = dict(model.named_parameters()), dict(sharing.model.named_parameters())
    assert all(own[name] is parameter for name, parameter in mine.items())
    firsts = [{m.first for m in of.modules() if hasattr(m, "first")} for of in (model, sharing.model)]
    assert firsts == [{0}, {64}]


def test_a_model_that_cannot_be_copied_is_one_line_that_says_what_to_do() -> None:
    model = zoo_model("mdaf_mamba")
    model.lock = threading.Lock()
    with pytest.raises(UserError, match=r"^MDAF\.thread_safe: .*cannot pickle '_thread\.lock' object; set thread_safe"):
        Sharing(model)
