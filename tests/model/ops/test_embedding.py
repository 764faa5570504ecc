"""Embedding lookup: the kernel of its gradient against PyTorch's."""

from functools import partial

import pytest
import torch
from torch import Tensor

from mdaf.model.ops.embedding import Rows, lookup, side_by_side
from tests.model import backends
from tests.model.backends import assert_close, assert_equal, device_of, interpreted, value_and_gradients


def arguments(rows: int, dim: int, ids: Tensor) -> dict[str, Tensor | None]:
    return {"weight": torch.randn(rows, dim, generator=torch.Generator().manual_seed(1)), "ids": ids}


def run(backend: str, inputs: dict[str, Tensor | None]) -> dict[str, Tensor]:
    placed = {name: None if a is None else a.to(device_of(backend)) for name, a in inputs.items()}
    return value_and_gradients(partial(lookup, backend=backend), placed)


def drawn(rows: int, *shape: int) -> Tensor:
    """Ids of which the low ones come in long runs once sorted, as the reserved ids of a log do."""
    uniform = torch.rand(shape, generator=torch.Generator().manual_seed(2))
    return (uniform**3 * rows).to(torch.int32)


@pytest.mark.parametrize("backend", [backends.triton])
@pytest.mark.parametrize(
    ("rows", "dim", "ids"),
    [
        (4, 16, drawn(4, 2, 3, 50)),  # a table of matches: a few rows, each hit often
        (300, 8, drawn(300, 1, 700)),  # runs inside a chunk, over an edge, over several
        (40_000, 5, drawn(40_000, 1, 130)),  # ids that need 32 bits, an odd number of channels
        (7, 3, torch.full((1, 2500), 3)),  # one run over three levels
        (7, 3, torch.tensor([[6]])),
        (7, 3, torch.arange(64).remainder(7)[None]),  # exactly one chunk
        (7, 3, torch.zeros(1, 0, dtype=torch.int64)),
    ],
)
def test_the_kernels_gradient_is_the_sum_over_every_use_of_a_row(
    backend: str, rows: int, dim: int, ids: Tensor
) -> None:
    inputs = arguments(rows, dim, ids)
    assert_close(run(backend, inputs), run("reference", inputs), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("backend", [backends.triton])
def test_the_kernels_gradient_is_the_same_each_time(backend: str) -> None:
    inputs = arguments(50, 16, drawn(50, 2, 150))
    assert_equal(run(backend, inputs), run(backend, inputs))


@pytest.mark.parametrize("backend", [backends.triton])
def test_tables_side_by_side_and_their_gradients_are_those_of_each(backend: str) -> None:
    first, second = drawn(300, 2, 3, 40), drawn(4, 2, 3, 40)

    def gathered(a: Tensor, b: Tensor, there: str) -> Tensor:
        parts = [Rows(a, first.to(a.device), None), Rows(b, second.to(b.device), None)]
        return side_by_side(parts, torch.float32, there)

    generator = torch.Generator().manual_seed(1)
    tables = {"a": torch.randn(300, 6, generator=generator), "b": torch.randn(4, 16, generator=generator)}
    placed = {name: table.to(device_of(backend)) for name, table in tables.items()}
    found = value_and_gradients(partial(gathered, there=backend), placed)
    assert_close(found, value_and_gradients(partial(gathered, there="reference"), tables), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("backend", [backends.triton])
def test_vectors_side_by_side_have_the_type_that_is_asked_for(backend: str) -> None:
    device = device_of(backend)
    table, ids = torch.randn(9, 5, device=device), torch.arange(9, device=device)
    parts = [Rows(table, ids, None), Rows(table, ids.flip(0), None)]
    expected = torch.cat([table, table.flip(0)], dim=-1).bfloat16()
    assert torch.equal(side_by_side(parts, torch.bfloat16, "reference"), expected)
    found = side_by_side(parts, torch.bfloat16, backend)
    if interpreted(backend):  # the interpreter cuts where the kernel rounds
        torch.testing.assert_close(found, expected, rtol=2**-7, atol=0)
    else:
        assert torch.equal(found, expected)
