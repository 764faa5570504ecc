"""The selective scan's last output only: value and gradients equal those of the whole scan. See test_operations too."""

import pytest
import torch

from mdaf.model.scan import last_output
from tests.model import backends
from tests.model.backends import assert_close, interpreted
from tests.model.operations import LAST_OUTPUT, SCAN, last_inputs, scan_inputs

BACKENDS = ["reference", backends.cpu, "chunked", backends.triton]


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
        length, batch = 13, 1
    ends = [[(length * (b + r + 1)) // 2 % (length + 1) for b in range(batch)] for r in range(replica)]
    inputs = last_inputs(replica, batch, length, channel, state, biased=biased, lengths=ends if ragged else None)
    assert_close(LAST_OUTPUT.run(backend, inputs), LAST_OUTPUT.expected(inputs))


@pytest.mark.parametrize("programs", [1, 3])
@pytest.mark.parametrize("backend", [backends.triton])
def test_rows_that_share_a_program_give_what_rows_alone_give(
    backend: str, programs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mdaf.model.scan import triton as kernel

    inputs = last_inputs(2, 3, 5, 33, 8, lengths=[[5, 3, 0], [1, 4, 5]])
    whole = scan_inputs(2, 3, 5, 33, 8, lengths=[[5, 3, 0], [1, 4, 5]])
    monkeypatch.setattr(kernel, "PROGRAMS", programs)  # of four rows, of two
    assert_close(LAST_OUTPUT.run(backend, inputs), LAST_OUTPUT.expected(inputs))
    assert_close(SCAN.run(backend, whole), SCAN.expected(whole))


def test_an_empty_sequence_gives_zeros() -> None:
    shapes = ((1, 2, 0, 3), (1, 2, 0, 3), (1, 3, 4), (1, 2, 0, 4), (1, 2, 4), (1, 3))
    assert torch.equal(last_output(*(torch.ones(shape) for shape in shapes)), torch.zeros(1, 2, 3))
