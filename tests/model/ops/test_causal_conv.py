"""The causal convolution with SiLU: each backend against the equations. See test_operations too."""

import pytest
import torch
import torch.nn.functional as F

from mdaf.model.ops.causal_conv import causal_conv
from tests.model import backends
from tests.model.backends import assert_close, interpreted
from tests.model.operations import CONVOLUTION, conv_inputs

BACKENDS = [backends.cpu, backends.triton]


def test_the_reference_is_pytorchs_convolution_cut_at_the_first_position() -> None:
    inputs = conv_inputs(batch=3, channel=5)
    x, weight, bias = inputs["x"], inputs["weight"], inputs["bias"]
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
        length, replica, batch, lengths = min(length, 13), 1, 1, None if lengths is None else [[9]]
    inputs = conv_inputs(replica, batch, length, channel, width=width, lengths=lengths)
    assert_close(CONVOLUTION.run(backend, inputs), CONVOLUTION.expected(inputs))


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_changing_an_event_changes_its_own_output_and_the_three_after_it(backend: str) -> None:
    inputs = conv_inputs(length=9)
    before = CONVOLUTION.value(backend, inputs)
    inputs["x"][:, :, 3] += 1
    changed = (before != CONVOLUTION.value(backend, inputs)).any(dim=-1).all(dim=1)[0]
    assert changed.tolist() == [False] * 3 + [True] * 4 + [False] * 2


def test_a_shape_that_does_not_fit_is_named() -> None:
    inputs = conv_inputs()
    inputs["bias"] = torch.zeros(1, 3)
    with pytest.raises(ValueError, match=r"bias has shape \(1, 3\), expected \(1, 8\)"):
        CONVOLUTION.run("auto", inputs)


def test_a_backend_that_cannot_run_is_refused_in_one_line() -> None:
    inputs = {n: a.double() if a is not None and a.is_floating_point() else a for n, a in conv_inputs().items()}
    with pytest.raises(ValueError, match=r"causal_conv: backend cpu cannot run here: .* float64"):
        CONVOLUTION.run("cpu", inputs)
