"""The product of stacked linear layers: PyTorch's, with the gradients as they are wanted."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mdaf.model.layers.basic import Linear
from mdaf.model.ops.batched_matmul import cpu_factors_in, stacked_product
from tests.model.backends import DEVICE, assert_close, value_and_gradients


def plain(x: Tensor, weight: Tensor) -> Tensor:
    return torch.bmm(x, weight.to(x.dtype).transpose(1, 2))


def arguments(dtype: torch.dtype) -> dict[str, Tensor | None]:
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(3, 7, 5, generator=draw).to(DEVICE, dtype)
    return {"x": x, "weight": torch.randn(3, 4, 5, generator=draw).to(DEVICE)}


@pytest.mark.parametrize(("dtype", "rtol", "atol"), [(torch.float32, 1e-5, 1e-5), (torch.bfloat16, 2e-2, 5e-2)])
def test_the_product_and_its_gradients_are_those_of_pytorch(dtype: torch.dtype, rtol: float, atol: float) -> None:
    assert_close(
        value_and_gradients(stacked_product, arguments(dtype)), value_and_gradients(plain, arguments(dtype)), rtol, atol
    )


def test_the_gradient_of_a_weight_has_its_type_and_its_layout() -> None:
    given = arguments(torch.bfloat16)
    weight = given["weight"].requires_grad_()  # type: ignore[union-attr]
    stacked_product(given["x"], weight).sum().backward()  # type: ignore[arg-type]
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
    assert weight.grad.is_contiguous()


def test_what_needs_no_gradient_gets_none() -> None:
    given = arguments(torch.float32)
    x = given["x"].requires_grad_()  # type: ignore[union-attr]
    stacked_product(x, given["weight"]).sum().backward()  # type: ignore[arg-type]
    assert x.grad is not None
    assert given["weight"].grad is None  # type: ignore[union-attr]


def test_factors_may_be_narrower_than_what_goes_in_and_comes_out() -> None:
    given, narrow = arguments(torch.float32), torch.bfloat16
    found = value_and_gradients(lambda x, weight: stacked_product(x, weight, narrow), given)
    rounded = {name: a.to(narrow).float() for name, a in given.items() if a is not None}
    assert {part.dtype for part in found.values()} == {torch.float32}
    assert_close(found, value_and_gradients(plain, rounded), 2e-2, 5e-2)


def test_linear_layers_on_a_cpu_multiply_in_what_is_asked_for_and_say_so_in_no_type() -> None:
    torch.manual_seed(0)
    layer, x = Linear(5, 4, bias=False), torch.randn(1, 3, 5)
    with cpu_factors_in(torch.bfloat16):
        narrow = layer(x)
    wide = layer(x)
    assert narrow.dtype == wide.dtype == torch.float32
    assert torch.equal(narrow, narrow.bfloat16().float())
    assert not torch.equal(wide, wide.bfloat16().float())
    torch.testing.assert_close(narrow, wide, rtol=2e-2, atol=2e-2)
