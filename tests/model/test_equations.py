"""The layers against their published equations, stated a second time with plain loops."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from model.dcnv3 import CrossNetworks
from model.mamba import Mamba


def test_dcnv3_follows_its_equations() -> None:
    torch.manual_seed(0)
    model = CrossNetworks(dim=6, deep_layers=3, shallow_layers=2)
    x = torch.randn(1, 5, 6)

    def layer(which: str, index: int, current: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        weights = dict(getattr(model, which)[index].named_parameters())
        h = current @ weights["project.weight"][0].T
        mean, variance = h.mean(-1, keepdim=True), h.var(-1, keepdim=True, correction=0)
        norm = (h - mean) / (variance + 1e-5).sqrt() * weights["norm.weight"][0] + weights["norm.bias"][0]
        c = torch.cat([h, h * norm.clamp(min=0)], dim=-1)
        return base * (c + weights["bias"][0]) + current

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    deep = shallow = x[0]
    for index in range(3):
        deep = layer("deep", index, deep, deep)
    for index in range(2):
        shallow = layer("shallow", index, shallow, x[0])
    torch.testing.assert_close(model(x)[0], torch.cat([deep, shallow], dim=-1))


def test_the_mamba_block_follows_its_equations() -> None:
    torch.manual_seed(0)
    block = Mamba(hidden=8, state=3, conv=4, expand=2, scan="reference")
    x = torch.randn(1, 2, 6, 8)
    w = {name: value.detach()[0] for name, value in block.named_parameters()}
    expected = torch.zeros_like(x)
    for sample in range(2):
        u_in = x[0, sample] @ w["input.weight"].T
        z = x[0, sample] @ w["gate.weight"].T
        state = torch.zeros(16, 3)
        for t in range(6):
            mixed = w["conv_bias"].clone()
            for k in range(4):
                if t - 3 + k >= 0:
                    mixed += w["conv_weight"][:, k] * u_in[t - 3 + k]
            u = mixed * torch.sigmoid(mixed)
            dt, B, C = (w["select.weight"] @ u).split([1, 3, 3])
            delta = F.softplus(w["delta.weight"] @ dt + w["delta_bias"])
            A = -torch.exp(w["A_log"])
            state = torch.exp(delta[:, None] * A) * state + delta[:, None] * B[None] * u[:, None]
            y = (state * C).sum(-1) + w["D"] * u
            expected[0, sample, t] = w["output.weight"] @ (y * z[t] * torch.sigmoid(z[t]))
    torch.testing.assert_close(block(x, torch.tensor([[6, 6]])), expected, rtol=1e-4, atol=1e-5)


def test_the_mamba_block_starts_from_the_published_initialization() -> None:
    torch.manual_seed(0)
    block = Mamba(hidden=64, state=16, conv=4, expand=2)
    step = F.softplus(block.delta_bias.detach())
    assert 1e-4 <= float(step.min()) < 3e-3
    assert 3e-2 < float(step.max()) <= 0.1001
    torch.testing.assert_close(block.A_log.exp()[0, 7], torch.arange(1.0, 17.0))
    assert bool((block.D == 1).all())
    assert float(block.delta.weight.detach().abs().max()) <= 4**-0.5
    assert [id(p) for p in block.undecayed()] == [id(block.A_log), id(block.D)]
