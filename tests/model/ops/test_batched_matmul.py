"""The product of stacked linear layers: PyTorch's, with the gradients as they are wanted."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mdaf.model.layers.basic import Linear
from mdaf.model.ops.batched_matmul import cpu_factors_in, parts_of_rows, stacked_product, summed_product
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


@pytest.mark.parametrize(("dtype", "rtol", "atol"), [(torch.float32, 1e-5, 1e-5), (torch.bfloat16, 2e-2, 5e-2)])
def test_a_bias_and_its_gradient_are_those_of_pytorch(dtype: torch.dtype, rtol: float, atol: float) -> None:
    def biased(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return stacked_product(x, weight, bias=bias)

    def plainly(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return plain(x, weight) + bias.to(x.dtype).unsqueeze(1)

    bias = torch.randn(3, 4, generator=torch.Generator().manual_seed(2)).to(DEVICE)
    found = value_and_gradients(biased, arguments(dtype) | {"bias": bias})
    assert_close(found, value_and_gradients(plainly, arguments(dtype) | {"bias": bias}), rtol, atol)


@pytest.mark.parametrize("parts", [2, 4, 12])
def test_a_sum_over_rows_in_parts_is_the_sum_over_rows(parts: int) -> None:
    draw = torch.Generator().manual_seed(3)
    dy, x = (torch.randn(3, 24, width, generator=draw).to(DEVICE) for width in (4, 5))
    whole = summed_product(dy, x, torch.float32, parts=1)
    torch.testing.assert_close(summed_product(dy, x, torch.float32, parts), whole, rtol=1e-5, atol=1e-5)


def test_the_parts_of_a_sum_over_rows_are_equal_and_neither_short_nor_many() -> None:
    wide, narrow = torch.float32, torch.bfloat16
    assert parts_of_rows(5 * 80 * 448, 102_400, wide) == 32
    assert parts_of_rows(5 * 256 * 512, 2048, wide) == 4
    assert parts_of_rows(5 * 1408 * 1408, 2048, wide) == 1
    assert parts_of_rows(5 * 80 * 448, 102_400, narrow) == 4
    assert parts_of_rows(5 * 512 * 128, 36_864, narrow) == 1
    assert parts_of_rows(5 * 80 * 448, 102_401, wide) == 1


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
