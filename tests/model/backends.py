"""What the tests of the kernels share: which backends run here, gradients of a weighted sum, closeness."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mdaf.model.kernels.backend import installed

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")

cpu = pytest.param("cpu", marks=pytest.mark.skipif(not installed("numba"), reason="numba is not installed"))
triton = pytest.param("triton", marks=pytest.mark.skipif(not installed("triton"), reason="triton is not installed"))
mamba_ssm = pytest.param(
    "mamba_ssm",
    marks=pytest.mark.skipif(
        not (CUDA and installed("mamba_ssm") and installed("selective_scan_cuda")), reason="mamba-ssm needs CUDA"
    ),
)


def device_of(backend: str) -> torch.device:
    """The device that the tests of ``backend`` run on: Triton's kernels are interpreted where there is no GPU."""
    return DEVICE if backend in ("triton", "mamba_ssm") else torch.device("cpu")


def interpreted(backend: str) -> bool:
    """Whether the tests of ``backend`` run in Triton's interpreter, thousands of times slower than the kernels."""
    return backend == "triton" and not CUDA


def value_and_gradients(function: Callable[..., Tensor], arguments: dict[str, Tensor | None]) -> dict[str, Tensor]:
    """The result, and the gradient of its weighted sum by every floating argument. Replicas have the same weights."""
    leaves = {
        name: a.detach().clone().requires_grad_() if a is not None and a.is_floating_point() else a
        for name, a in arguments.items()
    }
    y = function(**leaves)
    weights = torch.cos(torch.arange(y[0].numel(), dtype=torch.float64)).view(y.shape[1:]).to(y)
    (y * weights).sum().backward()
    gradients = {f"d{name}": a.grad for name, a in leaves.items() if a is not None and a.is_floating_point()}
    return {"y": y.detach(), **gradients}  # type: ignore[dict-item]


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], rtol: float = 6e-4, atol: float = 2e-3) -> None:
    """Every value and gradient within the tolerances of mamba-ssm's own tests in float32."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name].double().cpu(),
            value.double().cpu(),
            rtol=rtol,
            atol=atol,
            msg=lambda text, n=name: f"{n}: {text}",
        )


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Every value and gradient the same, bit for bit."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
