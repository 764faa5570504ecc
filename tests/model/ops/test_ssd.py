"""State space duality against the recurrence that it replaces, and the Mamba-2 block against its equations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mdaf.model.kernels.backend import reference_kernels
from mdaf.model.layers.mamba2 import Mamba2
from mdaf.model.ops.ssd import ssd, ssd_at


def recurrence(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """One replica, one sample, one head at a time, a step at a time."""
    y = torch.zeros_like(x)
    replicas, samples, length, heads, width = x.shape
    for r in range(replicas):
        for s in range(samples):
            for h in range(heads):
                state = torch.zeros(B.shape[-1], width, dtype=x.dtype)
                for t in range(length):
                    decay = torch.exp(dt[r, s, t, h] * A[r, h])
                    state = decay * state + dt[r, s, t, h] * torch.outer(B[r, s, t], x[r, s, t, h])
                    y[r, s, t, h] = C[r, s, t] @ state
    return y


def inputs(length: int, seed: int = 0) -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw)

    x, dt = normal(2, 3, length, 2, 5), F.softplus(normal(2, 3, length, 2) - 1)
    return x, dt, -torch.exp(normal(2, 2)), normal(2, 3, length, 4), normal(2, 3, length, 4)


@pytest.mark.parametrize("chunk", [1, 4, 5, 64])
@pytest.mark.parametrize("length", [1, 2, 11, 20])
def test_it_is_the_recurrence_whatever_the_chunk(length: int, chunk: int) -> None:
    arguments = [argument.requires_grad_() for argument in inputs(length)]
    fast, slow = ssd(*arguments, chunk=chunk), recurrence(*arguments)
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)
    weight = torch.randn(fast.shape, generator=torch.Generator().manual_seed(1))
    of_fast = torch.autograd.grad((fast * weight).sum(), arguments)
    of_slow = torch.autograd.grad((slow * weight).sum(), arguments)
    torch.testing.assert_close(of_fast, of_slow, rtol=1e-3, atol=1e-4)


def test_a_length_that_is_not_known_is_one_chunk_that_is_as_exact() -> None:
    arguments = inputs(length=150)
    with reference_kernels():
        whole = ssd(*arguments, chunk=64)
    torch.testing.assert_close(whole, ssd(*arguments, chunk=64), rtol=1e-5, atol=1e-5)


def test_one_position_alone_is_that_of_the_recurrence() -> None:
    x, dt, A, B, C = inputs(11)
    position = torch.tensor([[0, 10, 4], [3, 7, 9]])
    there = position[..., None, None]
    y = ssd_at(x, dt, A, B, torch.take_along_dim(C, there, dim=2), position)
    expected = torch.take_along_dim(recurrence(x, dt, A, B, C), there[..., None], dim=2)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)


def test_a_strong_decay_over_a_long_sequence_stays_finite() -> None:
    x, dt, A, B, C = inputs(200)
    y = ssd(x, 50 * dt, 16 * A.requires_grad_(), B, C, chunk=64)
    assert torch.isfinite(y).all()
    assert torch.isfinite(torch.autograd.grad(y.sum(), A)[0]).all()


def test_the_mamba2_block_follows_its_equations() -> None:
    torch.manual_seed(0)
    block = Mamba2(hidden=8, state=3, conv=4, expand=2, head=4, chunk=4)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    x = torch.randn(1, 2, 6, 8)
    w = {name: value.detach()[0] for name, value in block.named_parameters()}
    expected = torch.zeros_like(x)
    for sample in range(2):
        mixed_in = x[0, sample] @ w["input.weight"].T  # u, B and C side by side
        state = torch.zeros(4, 3, 4)  # head, state, channel of the head
        for t in range(6):
            mixed = w["conv_bias"].clone()
            for k in range(4):
                if t - 3 + k >= 0:
                    mixed += w["conv_weight"][:, k] * mixed_in[t - 3 + k]
            u, B, C = (mixed * torch.sigmoid(mixed)).split([16, 3, 3])
            dt = torch.log1p(torch.exp(w["delta.weight"] @ x[0, sample, t] + w["delta_bias"]))
            y = torch.zeros(16)
            for head in range(4):
                part = slice(4 * head, 4 * head + 4)
                decay = torch.exp(-dt[head] * torch.exp(w["A_log"][head]))
                state[head] = decay * state[head] + dt[head] * B[:, None] * u[None, part]
                y[part] = (C[:, None] * state[head]).sum(0) + w["D"][head] * u[part]
            z = w["gate.weight"] @ x[0, sample, t]
            gated = y * z * torch.sigmoid(z)
            normal = gated / (gated.square().mean() + 1e-5).sqrt() * w["norm.weight"]
            expected[0, sample, t] = w["output.weight"] @ normal
    torch.testing.assert_close(block(x, torch.tensor([[6, 6]])), expected, rtol=1e-4, atol=1e-5)


def test_the_mamba2_block_starts_from_the_published_initialization() -> None:
    torch.manual_seed(0)
    block = Mamba2(hidden=256, state=16, conv=4, expand=2, head=4, chunk=64)
    step, A = F.softplus(block.delta_bias.detach()), block.A_log.detach().exp()
    assert 1e-4 <= float(step.min()) < 3e-3
    assert 3e-2 < float(step.max()) <= 0.1001
    assert 1 <= float(A.min()) < 2
    assert 15 < float(A.max()) <= 16.001
    assert bool((block.D == 1).all())
    assert [id(p) for p in block.undecayed()] == [id(block.A_log), id(block.D), id(block.delta_bias)]


def test_heads_must_divide_the_channels() -> None:
    with pytest.raises(ValueError, match=r"16 channels .* heads of 5"):
        Mamba2(hidden=8, state=3, conv=4, expand=2, head=5, chunk=4)
