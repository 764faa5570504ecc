"""The product of wide layers by oneDNN: PyTorch's product and gradients, whichever rows oneDNN takes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mdaf.model.kernels.backend import reference_kernels
from mdaf.model.layers.basic import Linear
from mdaf.model.ops import wide_product as wide
from tests.model.backends import assert_close, value_and_gradients

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


def plain(x: Tensor, weight: Tensor) -> Tensor:
    return torch.bmm(x, weight.transpose(1, 2))


def arguments(rows: int, inputs: int, outputs: int, replicas: int = 1) -> dict[str, Tensor | None]:
    draw = torch.Generator().manual_seed(1)
    return {
        "x": torch.randn(replicas, rows, inputs, generator=draw),
        "weight": torch.randn(replicas, outputs, inputs, generator=draw),
    }


@pytest.mark.parametrize("rows", [1, wide.STEP, wide.STEP + 1, wide.SUMMED, 2 * wide.SUMMED + wide.STEP + 3])
@pytest.mark.parametrize(("inputs", "outputs"), [(8, 256), (40, 24)])
def test_the_product_and_its_gradients_are_those_of_pytorch(rows: int, inputs: int, outputs: int) -> None:
    given = arguments(rows, inputs, outputs, replicas=2)
    assert_close(value_and_gradients(wide.wide_product, given), value_and_gradients(plain, given), 1e-4, 1e-3)


def test_rows_that_are_slices_of_wider_ones_are_multiplied_alike() -> None:
    given = arguments(wide.STEP, 40, 256)
    x, weight = given["x"], given["weight"]
    assert x is not None
    assert weight is not None
    whole = wide.wide_product(x[..., 8:16].contiguous(), weight[..., 8:16].contiguous())
    assert torch.equal(wide.wide_product(x[..., 8:16], weight[..., 8:16]), whole)


def test_the_product_is_the_same_bit_for_bit_when_it_is_computed_again() -> None:
    given = arguments(wide.SUMMED + wide.STEP, 64, 256)
    first, again = (value_and_gradients(wide.wide_product, given) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("rows", [5 * wide.STEP, 5 * wide.STEP + 3])
def test_the_product_is_the_same_bit_for_bit_in_blocks_of_any_number_of_rows(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = arguments(rows, 64, 256)
    at_once = value_and_gradients(wide.wide_product, given)
    monkeypatch.setattr(wide, "BLOCK", 2 * wide.STEP)
    in_blocks = value_and_gradients(wide.wide_product, given)
    assert all(torch.equal(at_once[name], in_blocks[name]) for name in at_once)


def test_what_needs_no_gradient_gets_none() -> None:
    given = arguments(wide.STEP, 8, 256)
    x, weight = given["x"], given["weight"]
    assert x is not None
    assert weight is not None
    wide.wide_product(x.requires_grad_(), weight).sum().backward()
    assert x.grad is not None
    assert weight.grad is None


def test_layers_use_it_where_mkl_is_slow_and_they_are_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wide, "_mkl_is_slow", lambda: True)
    torch.manual_seed(0)
    layer, x = Linear(64, 256, bias=False), torch.randn(1, wide.STEP, 64)
    calls: list[int] = []
    product = wide._onednn
    monkeypatch.setattr(wide, "_onednn", lambda x, weight: (calls.append(len(x)), product(x, weight))[1])
    found = layer(x)
    assert calls == [wide.STEP]
    with reference_kernels():  # what is exported calls no private operator
        torch.testing.assert_close(found, layer(x), rtol=1e-4, atol=1e-4)
    layer(x[:, : wide.STEP - 1])
    Linear(32, 128, bias=False)(x[..., :32])
    layer.double()(x.double())
    assert calls == [wide.STEP]


def test_a_gradient_of_a_gradient_is_that_of_pytorch() -> None:
    given = arguments(wide.STEP + 1, 8, 256)

    def gradients(product: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, ...]:
        x, weight = (value.clone().requires_grad_() for value in given.values() if value is not None)
        dx, dweight = torch.autograd.grad(product(x, weight).pow(3).sum(), (x, weight), create_graph=True)
        return torch.autograd.grad(dx.pow(2).mean() + dweight.sum(), (x, weight))

    for found, expected in zip(gradients(wide.wide_product), gradients(plain), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-2)


def test_layers_go_on_with_torchs_transforms_and_autocast_where_mkl_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wide, "_mkl_is_slow", lambda: True)
    layer, x = Linear(64, 256, bias=False), torch.randn(2, 1, wide.STEP, 64)
    assert torch.equal(torch.func.vmap(layer)(x), torch.stack([plain(one, layer.weight) for one in x]))
    product, change = torch.func.jvp(layer, (x[0],), (x[1],))
    torch.testing.assert_close((product, change), (layer(x[0]), layer(x[1])), rtol=1e-4, atol=1e-4)
    [slope] = torch.func.grad(lambda given: torch.func.functional_call(layer, {"weight": given}, x[0]).sum())(
        layer.weight
    )
    torch.testing.assert_close(slope, x[0, 0].sum(dim=0).expand(256, 64), rtol=1e-4, atol=1e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x[0]).dtype == torch.bfloat16
