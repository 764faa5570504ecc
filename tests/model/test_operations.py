"""What each backend of each operation along time promises: the scan, its last output and the causal convolution."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from tests.model import backends
from tests.model.backends import assert_close, assert_equal, device_of, value_and_gradients
from tests.model.operations import CONVOLUTION, LAST_OUTPUT, SCAN, on

LENGTHS = [[6, 0], [3, 6]]
OPERATIONS = {"scan": SCAN, "last output": LAST_OUTPUT, "convolution": CONVOLUTION}
KERNELS = [
    pytest.param(name, *backend.values, marks=backend.marks, id=f"{name}-{backend.values[0]}")
    for name in OPERATIONS
    for backend in (backends.cpu, backends.triton)
]
CHUNKED = pytest.param("scan", "chunked", id="scan-chunked")
REFERENCES = [pytest.param(name, "reference", id=f"{name}-reference") for name in OPERATIONS]


@cache
def ragged(name: str, backend: str) -> dict[str, Tensor]:
    """What a backend makes of histories that are full, empty and shorter than the batch."""
    return OPERATIONS[name].run(backend, OPERATIONS[name].inputs(2, 2, 6, 5, lengths=LENGTHS))


@pytest.mark.parametrize(("name", "backend"), [*KERNELS, CHUNKED, *REFERENCES])
def test_positions_past_the_length_are_neither_read_nor_written_to_gradients(name: str, backend: str) -> None:
    operation, clean = OPERATIONS[name], ragged(name, backend)
    inputs = operation.inputs(2, 2, 6, 5, lengths=LENGTHS)
    past = torch.arange(6) >= torch.tensor(LENGTHS)[..., None]
    for timed in operation.timed:
        inputs[timed][past] = float("nan")
    assert_equal(operation.run(backend, inputs), clean)  # so the same values give the same bits, too
    for timed in operation.timed:
        assert (clean[f"d{timed}"].cpu()[past] == 0).all(), timed
    y = clean["y"].cpu()
    assert (y[past if y.dim() == 4 else torch.tensor(LENGTHS) == 0] == 0).all()


@pytest.mark.parametrize(("name", "backend"), KERNELS)
def test_a_replica_gives_the_bits_of_its_solo_run(name: str, backend: str) -> None:
    operation, stacked = OPERATIONS[name], ragged(name, backend)
    inputs = operation.inputs(2, 2, 6, 5, lengths=LENGTHS)
    solo = operation.run(backend, {key: None if a is None else a[1:] for key, a in inputs.items()})
    assert_equal(solo, {key: value[1:] for key, value in stacked.items()})


@pytest.mark.parametrize(("name", "backend"), [case for case in KERNELS if case.values[0] != "last output"])
def test_slices_of_a_wider_projection_are_read_as_they_are(name: str, backend: str) -> None:
    operation = OPERATIONS[name]

    def of_slices(**inputs: Tensor) -> Tensor:
        wide = {timed: torch.cat([inputs[timed][..., :2], inputs[timed]], dim=-1) for timed in operation.timed}
        sliced = {timed: tensor[..., 2:] for timed, tensor in wide.items()}
        assert not any(tensor.is_contiguous() for tensor in sliced.values())
        return operation.function(**{**inputs, **sliced}, backend=backend)

    inputs = operation.inputs(2, 2, 6, 5, lengths=LENGTHS)
    assert_equal(value_and_gradients(of_slices, on(device_of(backend), inputs)), ragged(name, backend))


@pytest.mark.parametrize(
    ("name", "backend"),
    [*KERNELS, CHUNKED, pytest.param("scan", *backends.mamba_ssm.values, marks=backends.mamba_ssm.marks)],
)
def test_bfloat16_stays_within_its_own_precision(name: str, backend: str) -> None:
    operation = OPERATIONS[name]
    inputs = operation.inputs(1, 2, 7, 9, lengths=[[7, 4]])
    inputs |= {low: inputs[low].bfloat16() for low in operation.low}
    found = operation.run(backend, inputs)
    assert found["y"].dtype == torch.bfloat16
    assert_close(found, operation.expected(inputs), rtol=3e-2, atol=5e-2)
