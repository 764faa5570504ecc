"""DCNv3's cross layer after its product, in one pass: as its parts do."""

from functools import partial

import pytest
import torch
from torch import Tensor

from mdaf.model.dcnv3 import CrossNetworks
from mdaf.model.layers.basic import Dropout
from mdaf.model.ops.cross_layer import crossed
from mdaf.model.ops.hash_dropout import Mask, hash_dropout
from tests.model import backends
from tests.model.backends import assert_close, assert_equal, device_of, value_and_gradients

fused = pytest.mark.parametrize("backend", [backends.cpu, backends.triton])
bases = pytest.mark.parametrize("apart", [True, False], ids=["apart", "itself"])


def arguments(replicas: int, batch: int, half: int, apart: bool) -> dict[str, Tensor]:
    """What a layer of 2 * ``half`` channels takes; without a base where it is x itself."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "h": (batch, half), "x": (batch, 2 * half), "base": (batch, 2 * half),
        "gain": (half,), "shift": (half,), "bias": (2 * half,),
    }  # fmt: skip
    made = {name: torch.randn(replicas, *shape, generator=generator) for name, shape in shapes.items()}
    return {name: tensor for name, tensor in made.items() if apart or name != "base"}


def layer(
    h: Tensor,
    x: Tensor,
    gain: Tensor,
    shift: Tensor,
    bias: Tensor,
    base: Tensor | None = None,
    mask: Mask | None = None,
    backend: str = "auto",
) -> Tensor:
    return crossed(h, x, x if base is None else base, gain, shift, bias, 1e-5, mask, backend=backend)


def mask(replicas: int, channels: int, device: torch.device | None = None) -> Mask:
    rate, key = torch.tensor([0.3, 0.0, 0.6]), torch.tensor([7, 8, 9])
    return Mask(rate[:replicas].to(device), key[:replicas].to(device), channels)


@fused
@bases
@pytest.mark.parametrize("drops", [True, False], ids=["dropout", "no dropout"])
@pytest.mark.parametrize(("replicas", "batch", "half"), [(3, 140, 5), (1, 3, 40), (2, 20, 70), (1, 2, 1)])
def test_a_cross_layer_and_its_gradients_are_those_of_its_parts(
    backend: str, apart: bool, drops: bool, replicas: int, batch: int, half: int
) -> None:
    device, given = device_of(backend), arguments(replicas, batch, half, apart)
    there = {name: tensor.to(device) for name, tensor in given.items()}
    drawn = partial(mask, replicas, 2 * half)
    found = value_and_gradients(partial(layer, mask=drawn(device) if drops else None, backend=backend), there)
    exact = {name: tensor.double() for name, tensor in given.items()}
    assert_close(found, value_and_gradients(partial(layer, mask=drawn() if drops else None), exact))


@fused
@bases
def test_a_replica_gives_what_its_solo_run_gives(backend: str, apart: bool) -> None:
    device = device_of(backend)
    there = {name: tensor.to(device) for name, tensor in arguments(3, 150, 5, apart).items()}
    drawn = mask(3, 10, device)
    stacked = value_and_gradients(partial(layer, mask=drawn, backend=backend), there)
    for r in range(3):
        own = {name: tensor[r : r + 1] for name, tensor in there.items()}
        cut = drawn._replace(rate=drawn.rate[r : r + 1], key=drawn.key[r : r + 1])
        alone = value_and_gradients(partial(layer, mask=cut, backend=backend), own)
        assert_equal({name: value[r : r + 1] for name, value in stacked.items()}, alone)


@fused
@pytest.mark.parametrize("first", [0, 6])
def test_what_is_dropped_is_what_a_dropout_layer_drops(backend: str, first: int) -> None:
    device = device_of(backend)
    given = {name: tensor.to(device) for name, tensor in arguments(2, 9, 5, apart=True).items()}
    given["base"] = torch.zeros_like(given["base"])
    dropout = Dropout()
    dropout.rate, dropout.key, dropout.first = torch.tensor([0.3, 0.6], device=device), torch.tensor([7, 8]), first
    dropout.key = dropout.key.to(device)
    y = layer(**given, mask=dropout.mask(given["x"]), backend=backend)
    assert torch.equal(y, hash_dropout(given["x"], dropout.rate, dropout.key, first_row=first))


@pytest.mark.parametrize("backend", [backends.triton])
@bases
def test_bfloat16_goes_in_and_its_gradient_comes_out(backend: str, apart: bool) -> None:
    device = device_of(backend)
    given = {name: tensor.to(device) for name, tensor in arguments(2, 4, 8, apart).items()}
    given["h"] = given["h"].bfloat16()
    found = value_and_gradients(partial(layer, backend=backend), given)
    assert found["dh"].dtype == torch.bfloat16
    assert all(value.dtype == torch.float32 for name, value in found.items() if name != "dh")
    expected = value_and_gradients(layer, {name: tensor.double() for name, tensor in given.items()})
    torch.testing.assert_close(found["dh"].double(), expected.pop("dh"), rtol=2**-7, atol=1e-4)
    assert_close({name: value for name, value in found.items() if name != "dh"}, expected)


@fused
def test_the_result_has_the_type_that_is_asked_for(backend: str) -> None:
    given = {name: tensor.to(device_of(backend)) for name, tensor in arguments(1, 3, 4, apart=True).items()}
    y = crossed(**given, eps=1e-5, backend=backend)
    narrow = crossed(**given, eps=1e-5, backend=backend, dtype=torch.bfloat16)
    assert narrow.dtype == torch.bfloat16
    torch.testing.assert_close(narrow, y.bfloat16(), rtol=2**-7, atol=0)


def test_the_last_layers_of_both_networks_give_the_type_that_is_asked_for() -> None:
    torch.manual_seed(0)
    networks, x = CrossNetworks(dim=6, deep_layers=2, shallow_layers=2), torch.randn(1, 3, 6)
    assert torch.equal(networks(x, torch.bfloat16), networks(x).bfloat16())


def test_a_backend_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown backend"):
        layer(**arguments(1, 2, 4, apart=True), backend="fast")
