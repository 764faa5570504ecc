"""The product of stacked linear layers: PyTorch's, with the gradients as they are wanted."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from model.product import stacked_product
from tests.model.kernels import DEVICE, assert_close, value_and_gradients


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
