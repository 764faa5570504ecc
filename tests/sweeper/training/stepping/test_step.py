"""What captured steps rest on; the steps themselves are tested through ``train``."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mdaf.data.preparing.prepare import prepare_config
from mdaf.data.store.device_store import DeviceStore
from mdaf.sweeper.training.building.from_config import build_replicas, hyperparameters, settings
from mdaf.sweeper.training.evaluating.evaluation import evaluate
from mdaf.sweeper.training.stepping.capture import Captured
from mdaf.sweeper.training.stepping.losses import BatchLoss, branch_losses, cross_entropy
from mdaf.sweeper.training.stepping.step import Stepper, longest_histories, padded_length
from tests.gpu import needs_cuda, needs_two_gpus
from tests.sweeper.inside import assert_same_run, start
from tests.sweeper.tiny import composed


def test_histories_are_padded_to_few_lengths_none_shorter_and_none_much_longer() -> None:
    lengths = {longest: padded_length(longest, limit=50) for longest in range(51)}
    assert all(longest <= length <= max(1, 1.25 * longest) for longest, length in lengths.items())
    assert lengths[50] == 50
    assert len(set(lengths.values())) < 20


def test_the_longest_history_of_a_batch_is_taken_over_all_replicas() -> None:
    lengths = torch.tensor([5, 1, 2, 9, 3])
    orders = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 4, 0, 3]])
    assert longest_histories(lengths, orders, batch_size=2) == [5, 9, 9]


@needs_cuda
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_captured_steps_train_as_steps_that_are_not_captured(precision: str) -> None:
    cfg = composed("device=cuda", f"device.precision={precision}")
    device = torch.device("cuda")
    store = prepare_config(cfg.data)
    device_store = DeviceStore(store, device)
    losses = {}
    for graphs in (True, False):
        cfg.device.graphs = graphs
        replicas = build_replicas(cfg, store, [hyperparameters(cfg)], device)
        stepper = Stepper(replicas, device_store, settings(cfg, device).step)
        rows = device_store.rows("train")[None, :256]
        replicas.model.train()
        losses[graphs] = torch.stack([stepper.step(rows, number, store.schema.length)[0] for number in range(6)])
    assert torch.equal(losses[True], losses[False])


@needs_cuda
@pytest.mark.parametrize("deferred", [True, False])
def test_a_captured_step_never_waits_for_the_device(monkeypatch: pytest.MonkeyPatch, *, deferred: bool) -> None:
    monkeypatch.setattr("mdaf.sweeper.training.optim.replica_optimizers.DEFERRED_ROWS", 1 if deferred else 1 << 30)
    cfg = composed("device=cuda", "device.precision=bf16")
    device = torch.device("cuda")
    store = prepare_config(cfg.data)
    device_store = DeviceStore(store, device)
    replicas = build_replicas(cfg, store, [hyperparameters(cfg)] * 2, device)
    stepper = Stepper(replicas, device_store, settings(cfg, device).step)
    rows = device_store.rows("train")[:256].expand(2, -1)
    replicas.model.train()
    for number in range(3):  # the first is not captured, the second is
        stepper.step(rows, number, store.schema.length)
    torch.cuda.set_sync_debug_mode("error")  # whatever would wait raises
    try:
        losses = [stepper.step(rows, number, store.schema.length)[0] for number in range(3, 6)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(torch.stack(losses)).all()


@needs_cuda
def test_a_rehearsal_changes_nothing_and_leaves_nothing_to_compile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from triton import knobs

    cfg = composed("device=cuda", "device.precision=bf16", "model.sequence.hidden=24")  # a shape of no other test
    device = torch.device("cuda")
    store = prepare_config(cfg.data)
    device_store = DeviceStore(store, device)
    rows = device_store.rows("train")[None, :256]
    chosen = settings(cfg, device)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    compiled: list[str] = []
    monkeypatch.setattr(knobs.compilation, "listener", lambda src, **_: compiled.append(src.name))
    replicas = build_replicas(cfg, store, [hyperparameters(cfg)], device)
    before = {name: weight.clone() for name, weight in replicas.model.state_dict().items()}
    stepper = Stepper(replicas, device_store, chosen.step)
    stepper.rehearse(rows.shape[1])
    assert len(compiled) > 10
    assert all(torch.equal(before[name], weight) for name, weight in replicas.model.state_dict().items())
    compiled.clear()
    losses = torch.stack([stepper.step(rows, number, store.schema.length)[0] for number in range(4)])
    evaluate(replicas, device_store, chosen)
    assert set(compiled) <= {"_sum_partials"}  # whose tile depends on how many there are, where they are few
    unrehearsed = Stepper(build_replicas(cfg, store, [hyperparameters(cfg)], device), device_store, chosen.step)
    unrehearsed.replicas.model.train()
    assert torch.equal(
        losses, torch.stack([unrehearsed.step(rows, number, store.schema.length)[0] for number in range(4)])
    )


class Replayed:
    """Takes the place of a captured graph: a replay computes what was captured."""

    def __init__(self, step: Callable[[], tuple[Tensor, Tensor]], replicas: int, batch: int) -> None:
        self._step = step
        self.loss, self.logits = torch.zeros(replicas), torch.zeros(replicas, batch)

    def replay(self) -> None:
        loss, logits = self._step()
        self.loss.copy_(loss)
        self.logits.copy_(logits)

    def pool(self) -> None: ...


def losses_of_steps(monkeypatch: pytest.MonkeyPatch, outcomes: Sequence[Exception | None] | None) -> list[Tensor]:
    """The losses of six steps of two replicas; ``outcomes``: captures succeed (None) or raise; None: without any.

    A capture that raises has read its batch before, as one that runs out of memory in a forward pass.
    """
    monkeypatch.setattr("mdaf.sweeper.training.optim.replica_optimizers.DEFERRED_ROWS", 1)
    cfg = composed()
    store = prepare_config(cfg.data)
    device_store = DeviceStore(store, "cpu")
    replicas = build_replicas(cfg, store, [hyperparameters(cfg)] * 2, torch.device("cpu"))
    stepper = Stepper(replicas, device_store, replace(settings(cfg, torch.device("cpu")).step, positions=None))
    left = list(outcomes or [])

    def captured(step: Callable[[], tuple[Tensor, Tensor]], pool: object) -> Captured:
        if (error := left.pop(0) if left else None) is not None:
            replicas.model(device_store.gather("train", rows + 256, store.schema.length))
            raise error
        graph = Replayed(step, *rows.shape)
        return Captured(graph, graph.loss, graph.logits)

    monkeypatch.setattr("mdaf.sweeper.training.stepping.step.capture", captured)
    monkeypatch.setattr(stepper, "_captures", outcomes is not None)
    rows = device_store.rows("train")[:256].expand(2, -1)
    replicas.model.train()
    return [stepper.step(rows, number, store.schema.length)[0] for number in range(6)]


FAILED = RuntimeError("operation not permitted when stream is capturing")


@pytest.mark.parametrize("outcomes", [[], [FAILED], [FAILED, FAILED], [FAILED] * 4, [None, FAILED]])
def test_a_capture_that_fails_costs_time_only(
    monkeypatch: pytest.MonkeyPatch, outcomes: list[Exception | None]
) -> None:
    found = losses_of_steps(monkeypatch, outcomes)
    expected = losses_of_steps(monkeypatch, None)
    assert torch.equal(torch.stack(found), torch.stack(expected))


def test_replicas_whose_capture_does_not_fit_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        losses_of_steps(monkeypatch, [RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")])


def test_the_longest_histories_are_captured_first(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = composed()
    store = prepare_config(cfg.data)
    device_store = DeviceStore(store, "cpu")
    replicas = build_replicas(cfg, store, [hyperparameters(cfg)], torch.device("cpu"))
    stepper = Stepper(replicas, device_store, replace(settings(cfg, torch.device("cpu")).step, positions=None))
    longest: list[int] = []
    monkeypatch.setattr(
        "mdaf.sweeper.training.stepping.step.capture", lambda step, pool: Captured(Replayed(step, 1, 64), *step())
    )
    monkeypatch.setattr(stepper, "_captures", True)
    gather = device_store.gather
    rows = device_store.lengths("train").argsort()[None, :64]
    replicas.model.train()
    stepper.step(rows, 0, 2)
    monkeypatch.setattr(
        device_store, "gather", lambda split, rows, length: longest.append(length) or gather(split, rows, length)
    )
    stepper.step(rows, 1, 2)
    assert longest[0] == padded_length(int(device_store.lengths("train").max()), store.schema.length) > longest[1] == 2


def test_a_branch_adds_its_loss_by_as_much_as_it_is_worse_than_the_model() -> None:
    labels = torch.tensor([[1.0, 0.0]])
    better, worse = torch.tensor([[4.0, -4.0]]), torch.tensor([[0.0, 0.0]], requires_grad=True)
    loss = torch.tensor([0.1])
    coin = float(torch.tensor(2.0).log())
    zero, gamma = torch.zeros(1, 1), torch.ones(1, 1)
    batch_loss = BatchLoss(cross_entropy, labels, smoothing=zero, gamma=gamma, weight=None, size=2)
    added = branch_losses([better, worse], loss, batch_loss)
    assert isinstance(added, torch.Tensor)
    assert added.tolist() == pytest.approx([(coin - 0.1) * coin])
    added.sum().backward()
    assert worse.grad is not None
    assert worse.grad[0].tolist() == pytest.approx([-0.25 * (coin - 0.1), 0.25 * (coin - 0.1)])


@needs_two_gpus
def test_a_run_on_another_gpu_is_that_on_the_first(tmp_path: Path) -> None:
    for number in ("0", "1"):
        process = start(tmp_path, "device=cuda", f"device.name=cuda:{number}", f"hydra.run.dir={number}")
        process.join()
        assert process.exitcode == 0, (tmp_path / "output.txt").read_text()
    assert_same_run(tmp_path / "0", tmp_path / "1")
