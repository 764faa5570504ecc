"""Adam that puts off what nobody reads, against PyTorch's Adam, which does everything at once."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from mdaf.model.layers.basic import Embedding
from mdaf.model.ops.embedding import side_by_side
from mdaf.model.stack import keep, stack
from mdaf.sweeper.training.optim import deferred_adam
from mdaf.sweeper.training.optim.deferred_adam import DeferredAdam
from tests.model import backends as kernels
from tests.model.backends import CUDA, device_of

ROWS, DIM, STEPS = 23, 5, 12 if CUDA else 4  # without a GPU Triton's interpreter takes a second for each
DECAYS = [0.0, 0.3]
RATES = [0.05, 0.02]

backends = pytest.mark.parametrize("backend", [kernels.cpu, kernels.triton])


@dataclass
class Read:
    """What a step looks up: ids (replica, position) of two lookups, and what the loss weighs their rows by."""

    ids: tuple[Tensor, Tensor]
    weights: tuple[Tensor, Tensor]


def reads() -> Iterator[Read]:
    """Few rows at each step, some never, some in both lookups, one in a long run."""
    drawn = torch.Generator().manual_seed(3)
    for step in range(STEPS):
        first = torch.randint(0, ROWS - 4, (2, 3), generator=drawn)
        second = torch.randint(0, 1 + step, (2, 2, 2), generator=drawn)
        weights = [torch.randn(*ids.shape, DIM, generator=drawn) for ids in (first, second)]
        yield Read((first, second), (weights[0], weights[1]))


def table() -> Embedding:
    torch.manual_seed(1)
    return stack([Embedding(ROWS, DIM, std=1.0), Embedding(ROWS, DIM, std=1.0)])  # type: ignore[return-value]


def loss(embedding: Embedding, read: Read) -> Tensor:
    device = embedding.weight.device
    terms = [
        (embedding(ids.to(device)) * weights.to(device)).square().flatten(1).sum(dim=1)
        for ids, weights in zip(read.ids, read.weights, strict=True)
    ]
    return (terms[0] + terms[1]).sum()


def rate(k: int, step: int) -> float:
    return RATES[k] * (1 + step % 3)


def deferred(backend: str, decoupled: bool = False) -> tuple[Embedding, DeferredAdam]:
    device = device_of(backend)
    embedding = table().to(device)
    return embedding, DeferredAdam({"table": embedding}, DECAYS, decoupled, device, backend)


def train(
    embedding: Embedding, optimizer: DeferredAdam, some: list[Read], clips: tuple[float, float], at: int = 0
) -> None:
    for step, read in enumerate(some, start=at):
        optimizer.begin_step([rate(k, step) for k in range(2)])
        loss(embedding, read).backward()
        optimizer.step(torch.tensor(clips, device=embedding.weight.device))


def expected(decoupled: bool, clips: tuple[float, float]) -> Tensor:
    embedding = table()
    rows = [embedding.weight.detach()[k] for k in range(2)]
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    adams = [kind([view], lr=1.0, weight_decay=decay) for view, decay in zip(rows, DECAYS, strict=True)]
    for step, read in enumerate(reads()):
        embedding.weight.grad = None
        loss(embedding, read).backward()
        for k, adam in enumerate(adams):
            adam.param_groups[0]["lr"] = rate(k, step)
            rows[k].grad = embedding.weight.grad[k] * clips[k]
            adam.step()
    return embedding.weight.detach()


@backends
@pytest.mark.parametrize("decoupled", [False, True])
def test_settled_weights_are_those_of_an_adam_that_moves_every_row_at_every_step(backend: str, decoupled: bool) -> None:
    embedding, optimizer = deferred(backend, decoupled)
    train(embedding, optimizer, list(reads()), clips=(1.0, 0.5))
    optimizer.settle()
    torch.testing.assert_close(embedding.weight.detach().cpu(), expected(decoupled, (1.0, 0.5)), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("backend", [kernels.cpu])
def test_a_wide_row_is_caught_up_as_narrow_ones_are(backend: str) -> None:
    times = 13
    narrow, optimizer = deferred(backend)
    train(narrow, optimizer, list(reads()), (1.0, 0.5))
    wide = table()
    wide.weight = nn.Parameter(wide.weight.detach().repeat(1, 1, times))
    of_wide = DeferredAdam({"table": wide}, DECAYS, False, wide.weight.device, backend)
    repeated = [Read(r.ids, (r.weights[0].repeat(1, 1, times), r.weights[1].repeat(1, 1, 1, times))) for r in reads()]
    train(wide, of_wide, repeated, (1.0, 0.5))
    optimizer.settle()
    of_wide.settle()
    assert torch.equal(wide.weight, narrow.weight.repeat(1, 1, times))


@backends
def test_a_step_reads_rows_as_adam_would_have_left_them(backend: str) -> None:
    embedding, optimizer = deferred(backend)
    twin, twins = deferred(backend)
    for step, read in enumerate(reads()):
        train(embedding, optimizer, [read], (1.0, 1.0), step)
        train(twin, twins, [read], (1.0, 1.0), step)
        twins.settle()  # at each step, so that nothing is put off
        assert torch.equal(embedding(read.ids[0].to(embedding.weight.device)), twin(read.ids[0].to(twin.weight.device)))
    optimizer.settle()
    assert torch.equal(embedding.weight, twin.weight)


@backends
def test_a_row_that_is_read_is_up_to_date_though_others_are_not(backend: str) -> None:
    embedding, optimizer = deferred(backend)
    train(embedding, optimizer, list(reads()), (1.0, 1.0))
    optimizer.begin_step(RATES)
    ids = torch.tensor([[ROWS - 1, 0], [ROWS - 1, 2]], device=embedding.weight.device)
    found = embedding(ids).detach()
    untouched = embedding.weight.detach()[1, ROWS - 2].clone()
    optimizer.settle()
    assert torch.equal(untouched.cpu(), table().weight.detach()[1, ROWS - 2])
    rows = [expected(False, (1.0, 1.0))[k, ids[k].cpu()] for k in range(2)]
    torch.testing.assert_close(found.cpu(), torch.stack(rows), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("backend", [kernels.triton])
def test_rows_read_side_by_side_are_those_read_alone(backend: str) -> None:
    (alone, alones), (beside, besides) = deferred(backend), deferred(backend)
    for step, read in enumerate(reads()):
        for optimizer in (alones, besides):
            optimizer.begin_step([rate(k, step) for k in range(2)])
        ids = read.ids[0].to(alone.weight.device)
        weights = torch.cat([read.weights[0], -read.weights[0]], dim=-1).to(ids.device)
        expected = torch.cat([alone(ids), alone(ids.flip(1))], dim=-1)
        found = side_by_side([beside.rows(ids), beside.rows(ids.flip(1))], torch.float32, backend)
        assert torch.equal(found, expected)
        for vectors, optimizer in ((expected, alones), (found, besides)):
            (vectors * weights).square().sum().backward()
            optimizer.step(torch.ones(2, device=ids.device))
            optimizer.settle()
        torch.testing.assert_close(beside.weight, alone.weight, rtol=2e-6, atol=2e-6)


@backends
def test_the_norm_counts_a_row_once_however_often_it_is_read(backend: str) -> None:
    embedding, optimizer = deferred(backend)
    plain = table()
    read = next(reads())
    optimizer.begin_step(RATES)
    for one in (embedding, plain):
        loss(one, read).backward()
    assert plain.weight.grad is not None
    squares = plain.weight.grad.square().sum(dim=(1, 2))
    torch.testing.assert_close(optimizer.square_norms().cpu(), squares)


@backends
def test_more_steps_than_are_remembered_settle_by_themselves(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deferred_adam, "CAPACITY", 4)
    embedding, optimizer = deferred(backend)
    train(embedding, optimizer, list(reads()), (1.0, 1.0))
    optimizer.settle()
    torch.testing.assert_close(embedding.weight.detach().cpu(), expected(False, (1.0, 1.0)), rtol=2e-6, atol=2e-6)


@backends
def test_a_replica_goes_on_alone_and_from_its_saved_state_as_it_would_have_together(backend: str) -> None:
    stacked, both = deferred(backend)
    half, rest = list(reads())[: STEPS // 2], list(reads())[STEPS // 2 :]
    train(stacked, both, half, (1.0, 1.0))
    state, weights = copy.deepcopy(both.state(1)), stacked.weight.detach()[1].clone()
    train(stacked, both, rest, (1.0, 1.0), STEPS // 2)
    both.settle()

    alone, optimizer = deferred(backend)
    optimizer.load_state(1, state)
    alone.weight.data[1].copy_(weights)
    keep(alone, [1])
    optimizer.keep([1])
    for step, read in enumerate(rest, start=STEPS // 2):
        optimizer.begin_step([rate(1, step)])
        one = Read(tuple(ids[1:] for ids in read.ids), tuple(w[1:] for w in read.weights))  # type: ignore[arg-type]
        loss(alone, one).backward()
        optimizer.step(torch.ones(1, device=alone.weight.device))
    optimizer.settle()
    assert torch.equal(alone.weight[0], stacked.weight[1])
