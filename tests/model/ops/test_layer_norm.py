"""Bias, dropout, residual and layer normalization in one pass, and bias, activation and dropout: as their parts do."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from mdaf.model.ops.hash_dropout import Mask
from mdaf.model.ops.layer_norm import activated, normed_sum
from tests.model import backends
from tests.model.backends import assert_close, assert_equal, device_of, value_and_gradients

fused = pytest.mark.parametrize("backend", [backends.cpu, backends.triton])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mask(replicas: int, length: int, channels: int, longest: int | None = None) -> Mask:
    return Mask(
        torch.tensor([0.3, 0.0, 0.6])[:replicas], torch.tensor([7, 8, 9])[:replicas], (longest or length) * channels
    )


def on(device: torch.device, function: Callable[..., Tensor], drawn: Mask | None) -> Callable[..., Tensor]:
    if drawn is None:
        return function
    return partial(function, mask=Mask(drawn.rate.to(device), drawn.key.to(device), drawn.pitch))


def compare(
    function: Callable[..., Tensor], arguments: dict[str, Tensor | None], drawn: Mask | None, backend: str
) -> None:
    """Value and gradients by ``backend`` on its device, and by the reference on the CPU."""
    device = device_of(backend)
    there = {name: None if a is None else a.to(device) for name, a in arguments.items()}
    found = value_and_gradients(on(device, partial(function, backend=backend), drawn), there)
    expected = value_and_gradients(on(torch.device("cpu"), partial(function, backend="reference"), drawn), arguments)
    assert_close(
        {k: v for k, v in found.items() if v is not None}, {k: v for k, v in expected.items() if v is not None}
    )


@fused
@pytest.mark.parametrize(("batch", "length", "channels"), [(5, 3, 32), (70, 1, 24), (3, 50, 128), (1, 2, 7)])
def test_a_normed_sum_and_its_gradients_are_those_of_its_parts(
    backend: str, batch: int, length: int, channels: int
) -> None:
    shape = (2, batch, length, channels)
    arguments = {
        "x": random(*shape), "gain": random(2, channels, seed=1), "shift": random(2, channels, seed=2),
        "bias": random(2, channels, seed=3), "residual": random(*shape, seed=4),
    }  # fmt: skip
    compare(partial(normed_sum, eps=1e-5), arguments, mask(2, length, channels, longest=length + 2), backend)


@fused
@pytest.mark.parametrize("missing", ["bias", "residual", "mask"])
def test_each_part_of_a_normed_sum_may_be_missing(backend: str, missing: str) -> None:
    arguments: dict[str, Tensor | None] = {
        "x": random(3, 4, 5, 16), "gain": random(3, 16, seed=1), "shift": random(3, 16, seed=2),
        "bias": random(3, 16, seed=3), "residual": random(3, 4, 5, 16, seed=4),
    }  # fmt: skip
    arguments.pop(missing, None)
    compare(partial(normed_sum, eps=1e-12), arguments, None if missing == "mask" else mask(3, 5, 16), backend)


@fused
@pytest.mark.parametrize("activation", ["relu", "gelu", "leaky_relu"])
@pytest.mark.parametrize("shape", [(2, 5, 3, 40), (2, 150, 130), (1, 1, 8)])
def test_an_activated_layer_and_its_gradients_are_those_of_its_parts(
    backend: str, activation: str, shape: tuple[int, ...]
) -> None:
    replicas, channels = shape[0], shape[-1]
    arguments: dict[str, Tensor | None] = {"x": random(*shape), "bias": random(replicas, channels, seed=1)}
    length = shape[2] if len(shape) == 4 else 1
    drawn = mask(replicas, length, channels, longest=length + 1 if len(shape) == 4 else None)
    compare(partial(activated, activation=activation), arguments, drawn, backend)
    compare(partial(activated, activation=activation), arguments, None, backend)


@fused
def test_a_replica_gives_what_its_solo_run_gives(backend: str) -> None:
    device = device_of(backend)
    x, residual = random(3, 6, 4, 16).to(device), random(3, 6, 4, 16, seed=1).to(device)
    rows = {name: random(3, 16, seed=seed).to(device) for seed, name in enumerate(("gain", "shift", "bias"), 2)}
    drawn = mask(3, 4, 16)

    def one(function: Callable[..., Tensor], part: slice, **arguments: Tensor) -> dict[str, Tensor]:
        cut = Mask(drawn.rate[part].to(device), drawn.key[part].to(device), drawn.pitch)
        chosen = {name: argument[part] for name, argument in arguments.items()}
        return value_and_gradients(partial(function, mask=cut, backend=backend), chosen)

    for function, arguments in (
        (partial(normed_sum, eps=1e-5), {"x": x, "residual": residual, **rows}),
        (partial(activated, activation="gelu"), {"x": x, "bias": rows["bias"]}),
    ):
        stacked = one(function, slice(None), **arguments)
        for r in range(3):
            alone = one(function, slice(r, r + 1), **arguments)
            assert_equal({name: value[r : r + 1] for name, value in stacked.items()}, alone)


@pytest.mark.parametrize("backend", [backends.triton])
def test_bfloat16_goes_in_and_its_gradient_comes_out(backend: str) -> None:
    device = device_of(backend)
    x = random(1, 4, 8).to(device, torch.bfloat16).requires_grad_()
    residual = random(1, 4, 8, seed=1).to(device).requires_grad_()
    ones = torch.ones(1, 8, device=device)
    y = normed_sum(x, ones, 0 * ones, 1e-5, residual=residual, backend=backend)
    y.square().mul(torch.arange(8, device=device)).sum().backward()
    assert y.dtype == torch.float32
    assert (x.grad.dtype, residual.grad.dtype) == (torch.bfloat16, torch.float32)  # type: ignore[union-attr]
    torch.testing.assert_close(x.grad.float(), residual.grad, rtol=1e-2, atol=1e-2)  # type: ignore[union-attr]
    narrow = normed_sum(x, ones, 0 * ones, 1e-5, residual=residual, dtype=torch.bfloat16, backend=backend)
    torch.testing.assert_close(narrow, y.bfloat16(), rtol=2**-7, atol=0)
    assert activated(x, ones, "gelu", backend=backend).dtype == torch.bfloat16


@fused
def test_a_piece_of_a_batch_is_masked_as_within_its_batch(backend: str) -> None:
    device = device_of(backend)
    x, rows = random(2, 9, 3, 8).to(device), torch.ones(2, 8, device=device)
    drawn = Mask(torch.tensor([0.3, 0.6], device=device), torch.tensor([7, 8], device=device), 5 * 8)
    for function in (
        partial(activated, bias=rows, activation="gelu", backend=backend),
        partial(normed_sum, gain=rows, shift=rows, eps=1e-5, backend=backend),
    ):
        whole, piece = function(x, mask=drawn), function(x[:, 5:], mask=drawn._replace(first=5))
        torch.testing.assert_close(piece, whole[:, 5:], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("operation", [partial(normed_sum, gain=torch.ones(1, 4), shift=torch.ones(1, 4), eps=1e-5),
                                       partial(activated, bias=torch.ones(1, 4), activation="relu")])  # fmt: skip
def test_a_backend_that_is_not_there_is_refused(operation: Callable[..., Tensor]) -> None:
    with pytest.raises(ValueError, match="unknown backend"):
        operation(torch.ones(1, 2, 4), backend="fast")
