"""The layers against their published equations, stated a second time with plain loops."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mdaf.model.dcnv2 import CrossNetworkV2
from mdaf.model.dcnv3 import CrossNetworks
from mdaf.model.deepfm import pairwise_products
from mdaf.model.din import ActivationUnit
from mdaf.model.layers.encoder import TransformerEncoder
from mdaf.model.layers.mamba import Mamba


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


def perturbed(model: nn.Module) -> dict[str, torch.Tensor]:
    """The model's parameters of its only replica, moved away from zeros and ones, by name."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return {name: value.detach()[0] for name, value in model.named_parameters()}


def layer_norm(x: torch.Tensor, w: dict[str, torch.Tensor], name: str, eps: float) -> torch.Tensor:
    centred = x - x.mean()
    return centred / (centred.square().mean() + eps).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(x: torch.Tensor, w: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    y = w[f"{name}.weight"] @ x
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


@pytest.mark.parametrize("length", [6, 3, 0])
def test_bst_encodes_history_and_candidate_by_its_equations(length: int) -> None:
    torch.manual_seed(0)
    hidden, heads, width = 8, 2, 4
    encoder = TransformerEncoder(hidden, longest=6, layers=1, heads=heads, expand=2)
    w = perturbed(encoder)
    events = torch.randn(6, hidden)
    block = "blocks.0."
    n = max(length, 1)  # an empty history still reads its own position
    back = [length - t for t in range(n)]
    x = [events[t] + w["positions.weight"][back[t]] for t in range(n)]
    query, key, value = ([linear(row, w, f"{block}mixer.{name}") for row in x] for name in ("query", "key", "value"))
    expected = torch.zeros(n, hidden)
    for t in range(n):
        attended = torch.zeros(hidden)
        for head in range(heads):
            part = slice(width * head, width * head + width)
            scores = torch.stack([query[t][part] @ key[s][part] / width**0.5 for s in range(n)])
            shares = scores.exp() / scores.exp().sum()
            attended[part] = sum(shares[s] * value[s][part] for s in range(n))
        y = layer_norm(x[t] + linear(attended, w, f"{block}mixer.output"), w, f"{block}mixer_norm", 1e-5)
        inner = linear(y, w, f"{block}feed_forward.expand")
        inner = torch.where(inner > 0, inner, 0.01 * inner)
        y = layer_norm(y + linear(inner, w, f"{block}feed_forward.contract"), w, f"{block}feed_forward.norm", 1e-5)
        expected[t] = y
    encoded = encoder(events[None, None], torch.tensor([[length]]))
    torch.testing.assert_close(encoded[0, 0, :n], expected, rtol=1e-4, atol=1e-5)


def test_dcnv2_follows_its_equations() -> None:
    torch.manual_seed(0)
    model = CrossNetworkV2(dim=5, layers=3)
    w = perturbed(model)
    x0 = torch.randn(4, 5)
    x = x0
    for layer in range(3):
        x = x0 * (x @ w[f"layers.{layer}.weight"].T + w[f"layers.{layer}.bias"]) + x
    torch.testing.assert_close(model(x0[None])[0], x)


def test_deepfm_multiplies_every_pair_of_fields_once() -> None:
    vectors = torch.randn(1, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    expected = [sum(float(v[i] @ v[j]) for i in range(5) for j in range(i)) for v in vectors[0]]
    torch.testing.assert_close(pairwise_products(vectors)[0], torch.tensor(expected))


def test_din_weighs_each_event_by_its_equations() -> None:
    torch.manual_seed(0)
    unit = ActivationUnit(compared=3, extra=2, hidden=[4])
    w = perturbed(unit)
    t, events, extra = torch.randn(3), torch.randn(5, 3), torch.randn(5, 2)
    expected = torch.zeros(5)
    for i, h in enumerate(events):
        x = linear(torch.cat([t, h, t - h, t * h, extra[i]]), w, "layers.0")
        x = torch.where(x > 0, x, x * w["activations.0.slope"])
        expected[i] = linear(x, w, "weight")
    weights = unit(t[None, None], events[None, None], [extra[None, None]])
    torch.testing.assert_close(weights[0, 0, :, 0], expected)
