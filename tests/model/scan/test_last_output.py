"""The selective scan's last output alone: the value and the gradients of the whole scan's."""

from functools import partial

import pytest
import torch
from torch import Tensor

from mdaf.model.scan import last_output, selective_scan
from tests.model import backends
from tests.model.backends import assert_close, assert_equal, device_of, interpreted, value_and_gradients
from tests.model.scan.test_scan import arguments

BACKENDS = ["reference", backends.cpu, "chunked", backends.triton]


def inputs_of(*shape: int, biased: bool = True, lengths: list[list[int]] | None = None) -> dict[str, Tensor | None]:
    inputs = arguments(*shape, gated=False, biased=biased, lengths=lengths)
    del inputs["z"]
    assert inputs["C"] is not None
    inputs["C"] = inputs["C"][:, :, 0].clone()
    return inputs


def run(backend: str, inputs: dict[str, Tensor | None]) -> dict[str, Tensor]:
    placed = {name: None if a is None else a.to(device_of(backend)) for name, a in inputs.items()}
    return value_and_gradients(partial(last_output, backend=backend), placed)


def exact(inputs: dict[str, Tensor | None]) -> dict[str, Tensor]:
    """The whole scan in float64, of which each row's last valid output is taken."""

    def taken(C: Tensor, lengths: Tensor | None = None, **others: Tensor | None) -> Tensor:
        x = others["x"]
        assert x is not None
        wide = C.unsqueeze(2).expand(-1, -1, x.shape[2], -1)
        y = selective_scan(C=wide, lengths=lengths, **others, backend="reference")  # type: ignore[arg-type]
        ends = torch.full(x.shape[:2], x.shape[2]) if lengths is None else lengths
        return y.take_along_dim((ends - 1).clamp(min=0)[..., None, None], dim=2).squeeze(2)

    wide = {name: a.double() if a is not None and a.is_floating_point() else a for name, a in inputs.items()}
    return value_and_gradients(taken, wide)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("length", "replica", "batch", "channel", "state", "biased", "ragged"),
    [
        (1, 1, 1, 8, 16, True, False),
        (2, 3, 2, 5, 8, False, True),
        (4, 1, 1, 32, 8, True, False),
        (7, 2, 3, 33, 16, True, True),
        (50, 1, 3, 9, 16, True, True),
        (200, 1, 2, 7, 8, False, True),
    ],
)
def test_the_last_output_and_its_gradients_are_those_of_the_whole_scan(
    backend: str, length: int, replica: int, batch: int, channel: int, state: int, biased: bool, ragged: bool
) -> None:
    if interpreted(backend) and length > 7:
        batch = 1
    ends = [[(length * (b + r + 1)) // 2 % (length + 1) for b in range(batch)] for r in range(replica)]
    inputs = inputs_of(replica, batch, length, channel, state, biased=biased, lengths=ends if ragged else None)
    assert_close(run(backend, inputs), exact(inputs))


@pytest.mark.parametrize("backend", BACKENDS)
def test_positions_past_the_length_are_neither_read_nor_written_to_gradients(backend: str) -> None:
    lengths = [[6, 0, 3], [1, 5, 0]]
    inputs = inputs_of(2, 3, 6, 5, 8, lengths=lengths)
    clean = run(backend, inputs)
    past = torch.arange(6)[None, None, :] >= torch.tensor(lengths)[..., None]
    for name in ("x", "delta", "B"):
        tensor = inputs[name]
        assert tensor is not None
        tensor[past] = float("nan")
    assert_equal(run(backend, inputs), clean)
    for name in ("dx", "ddelta", "dB"):
        assert (clean[name].cpu()[past] == 0).all(), name
    assert (clean["y"].cpu()[torch.tensor(lengths) == 0] == 0).all()


@pytest.mark.parametrize("backend", [backends.cpu, backends.triton])
def test_a_replica_gives_the_bits_of_its_solo_run(backend: str) -> None:
    inputs = inputs_of(2, 3, 5, 6, 8, lengths=[[5, 3, 0], [1, 2, 5]])
    stacked = run(backend, inputs)
    for r in range(2):
        solo = run(backend, {name: None if a is None else a[r : r + 1] for name, a in inputs.items()})
        assert_equal(solo, {name: value[r : r + 1] for name, value in stacked.items()})


@pytest.mark.parametrize("backend", BACKENDS)
def test_bfloat16_stays_within_its_own_precision(backend: str) -> None:
    inputs = inputs_of(1, 2, 12, 9, 16, lengths=[[12, 7]])
    sequences = {"x", "delta", "B", "C"}
    rounded = {name: a.bfloat16() if name in sequences and a is not None else a for name, a in inputs.items()}
    found = run(backend, rounded)
    assert found["y"].dtype == torch.bfloat16
    assert_close(found, exact(rounded), rtol=3e-2, atol=5e-2)


@pytest.mark.parametrize("programs", [1, 3])
@pytest.mark.parametrize("backend", [backends.triton])
def test_rows_that_share_a_program_give_what_rows_alone_give(
    backend: str, programs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mdaf.model.scan import triton as kernel

    inputs = inputs_of(2, 3, 5, 33, 8, lengths=[[5, 3, 0], [1, 4, 5]])
    whole = arguments(2, 3, 5, 33, 8, lengths=[[5, 3, 0], [1, 4, 5]])
    monkeypatch.setattr(kernel, "PROGRAMS", programs)  # of four rows, of two
    assert_close(run(backend, inputs), exact(inputs))
    device = device_of(backend)
    placed = {name: None if a is None else a.to(device) for name, a in whole.items()}
    wide = {name: a.double() if a is not None and a.is_floating_point() else a for name, a in whole.items()}
    assert_close(
        value_and_gradients(partial(selective_scan, backend=backend), placed),
        value_and_gradients(partial(selective_scan, backend="reference"), wide),
    )


def test_an_empty_sequence_gives_zeros() -> None:
    shapes = ((1, 2, 0, 3), (1, 2, 0, 3), (1, 3, 4), (1, 2, 0, 4), (1, 2, 4), (1, 3))
    assert torch.equal(last_output(*(torch.ones(shape) for shape in shapes)), torch.zeros(1, 2, 3))
