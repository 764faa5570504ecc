"""The causal convolution with SiLU: every backend against the equations, and what must hold of each by itself."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mdaf.model.ops.causal_conv import causal_conv
from tests.model import backends
from tests.model.backends import assert_close, assert_equal, device_of, interpreted, value_and_gradients

BACKENDS = [backends.cpu, backends.triton]


def arguments(
    replica: int = 1,
    batch: int = 2,
    length: int = 6,
    channel: int = 8,
    *,
    width: int = 4,
    lengths: list[list[int]] | None = None,
) -> dict[str, Tensor | None]:
    normal = partial(torch.randn, generator=torch.Generator().manual_seed(1))
    return {
        "x": normal(replica, batch, length, channel),
        "weight": normal(replica, channel, width),
        "bias": normal(replica, channel),
        "lengths": None if lengths is None else torch.tensor(lengths),
    }


def run(backend: str, inputs: dict[str, Tensor | None]) -> dict[str, Tensor]:
    placed = {name: None if a is None else a.to(device_of(backend)) for name, a in inputs.items()}
    return value_and_gradients(partial(causal_conv, backend=backend), placed)


def exact(inputs: dict[str, Tensor | None]) -> dict[str, Tensor]:
    """The reference in float64."""
    wide = {name: a.double() if a is not None and a.is_floating_point() else a for name, a in inputs.items()}
    return run("reference", wide)


def test_the_reference_is_pytorchs_convolution_cut_at_the_first_position() -> None:
    inputs = arguments(batch=3, channel=5)
    x, weight, bias = inputs["x"], inputs["weight"], inputs["bias"]
    assert x is not None
    assert weight is not None
    assert bias is not None
    padded = F.conv1d(x[0].transpose(1, 2), weight[0, :, None], bias[0], padding=3, groups=5)
    expected = F.silu(padded[..., :6]).transpose(1, 2)
    torch.testing.assert_close(causal_conv(x, weight, bias, backend="reference")[0], expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("length", "replica", "batch", "channel", "width", "lengths"),
    [
        (1, 1, 1, 8, 4, None),
        (2, 3, 2, 5, 4, [[2, 0], [1, 2], [0, 0]]),
        (3, 1, 3, 33, 4, [[3, 1, 2]]),
        (50, 1, 2, 7, 4, [[50, 20]]),
        (50, 3, 1, 16, 3, None),
        (200, 1, 2, 9, 4, [[200, 77]]),
        (5, 1, 2, 4, 1, None),
    ],
)
def test_every_backend_gives_the_values_and_gradients_of_the_equations(
    backend: str, length: int, replica: int, batch: int, channel: int, width: int, lengths: list[list[int]] | None
) -> None:
    if interpreted(backend) and length > 3:
        replica, batch, lengths = 1, 1, None if lengths is None else [lengths[0][-1:]]
    inputs = arguments(replica, batch, length, channel, width=width, lengths=lengths)
    assert_close(run(backend, inputs), exact(inputs))


@pytest.mark.parametrize("backend", BACKENDS)
def test_bfloat16_stays_within_its_own_precision(backend: str) -> None:
    inputs = arguments(lengths=[[6, 4]])
    assert inputs["x"] is not None
    inputs["x"] = inputs["x"].bfloat16()
    found = run(backend, inputs)
    assert found["y"].dtype == torch.bfloat16
    assert_close(found, exact(inputs), rtol=3e-2, atol=5e-2)


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_changing_an_event_changes_its_own_output_and_the_three_after_it(backend: str) -> None:
    inputs = arguments(length=9)
    before = run(backend, inputs)["y"]
    assert inputs["x"] is not None
    inputs["x"][:, :, 3] += 1
    changed = (before != run(backend, inputs)["y"]).any(dim=-1).all(dim=1)[0]
    assert changed.tolist() == [False] * 3 + [True] * 4 + [False] * 2


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_positions_past_the_length_are_neither_read_nor_written_to_gradients(backend: str) -> None:
    lengths = [[6, 0, 3], [1, 6, 0]]
    inputs = arguments(2, 3, 6, 5, lengths=lengths)
    clean = run(backend, inputs)
    past = torch.arange(6)[None, None, :] >= torch.tensor(lengths)[..., None]
    assert inputs["x"] is not None
    inputs["x"][past] = float("nan")
    assert_equal(run(backend, inputs), clean)
    assert (clean["y"].cpu()[past] == 0).all()
    assert (clean["dx"].cpu()[past] == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_call_gives_the_same_bits(backend: str) -> None:
    inputs = arguments(2, 2, 9, 11)
    assert_equal(run(backend, inputs), run(backend, inputs))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_replica_gives_the_bits_of_its_solo_run(backend: str) -> None:
    inputs = arguments(2, 3, 5, 6, lengths=[[5, 3, 0], [1, 2, 5]])
    stacked = run(backend, inputs)
    for r in range(2):
        solo = run(backend, {name: None if a is None else a[r : r + 1] for name, a in inputs.items()})
        assert_equal(solo, {name: value[r : r + 1] for name, value in stacked.items()})


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_slice_of_a_wider_projection_is_taken_as_it_is(backend: str) -> None:
    inputs = arguments(2, 2, 5, 6)

    def from_wide(x: Tensor, **others: Tensor | None) -> Tensor:
        wide = torch.cat([x, x], dim=-1)
        return causal_conv(wide[..., x.shape[-1] :], **others, backend=backend)  # type: ignore[arg-type]

    placed = {name: None if a is None else a.to(device_of(backend)) for name, a in inputs.items()}
    assert_equal(value_and_gradients(from_wide, placed), run(backend, inputs))


def test_a_shape_that_does_not_fit_is_named() -> None:
    inputs = arguments()
    inputs["bias"] = torch.zeros(1, 3)
    with pytest.raises(ValueError, match=r"bias has shape \(1, 3\), expected \(1, 8\)"):
        run("auto", inputs)


def test_a_backend_that_cannot_run_is_refused_in_one_line() -> None:
    inputs = {n: a.double() if a is not None and a.is_floating_point() else a for n, a in arguments().items()}
    with pytest.raises(ValueError, match=r"causal_conv: backend cpu cannot run here: .* float64"):
        run("cpu", inputs)
