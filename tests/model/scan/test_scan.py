"""The selective scan: each backend against the equations. What all operations along time promise: test_operations."""

import pytest
import torch

from mdaf.model.scan import choose_backend
from tests.model import backends
from tests.model.backends import assert_close, assert_equal, interpreted
from tests.model.operations import SCAN, scan_inputs

BACKENDS = [backends.cpu, "chunked", backends.triton]


@pytest.mark.parametrize("backend", [*BACKENDS, backends.mamba_ssm])
@pytest.mark.parametrize(
    ("length", "replica", "batch", "channel", "state", "gated", "biased", "ragged"),
    [
        (1, 1, 1, 8, 16, True, True, False),
        (1, 3, 2, 5, 8, False, True, True),
        (2, 1, 3, 7, 16, True, False, True),
        (3, 3, 1, 33, 8, True, True, True),
        (50, 1, 3, 16, 16, True, True, True),
        (50, 3, 2, 7, 8, False, False, False),
        (64, 1, 2, 11, 16, True, True, False),
        (200, 1, 2, 9, 8, True, True, True),
        (200, 3, 1, 8, 16, False, False, True),
    ],
)
def test_every_backend_gives_the_values_and_gradients_of_the_equations(
    backend: str,
    length: int,
    replica: int,
    batch: int,
    channel: int,
    state: int,
    gated: bool,
    biased: bool,
    ragged: bool,
) -> None:
    if interpreted(backend) and length > 3:
        length, replica, batch, channel = min(length, 13), 1, 1, min(channel, 9)
    ends = [[(length * (b + r + 1)) // 2 % (length + 1) for b in range(batch)] for r in range(replica)]
    lengths = ends if ragged else None
    inputs = scan_inputs(replica, batch, length, channel, state, gated=gated, biased=biased, lengths=lengths)
    assert_close(SCAN.run(backend, inputs), SCAN.expected(inputs))


@pytest.mark.parametrize("backend", [backends.cpu, "chunked"])
def test_many_rows_give_the_values_and_gradients_of_the_equations(backend: str) -> None:
    generator = torch.Generator().manual_seed(3)
    lengths = torch.randint(0, 4, (1, 2048), generator=generator).tolist()
    inputs = scan_inputs(batch=2048, length=3, channel=5, lengths=lengths)
    assert_close(SCAN.run(backend, inputs), SCAN.expected(inputs))


@pytest.mark.parametrize("other", [backends.mamba_ssm])
@pytest.mark.parametrize("length", [8, 50])
def test_the_triton_kernel_and_that_of_mamba_ssm_agree_at_full_size(other: str, length: int) -> None:
    lengths = torch.randint(0, length + 1, (1, 2048), generator=torch.Generator().manual_seed(4)).tolist()
    inputs = scan_inputs(1, 2048, length, 256, 16, lengths=lengths)
    theirs = SCAN.run(other, inputs)
    for name, gradient in SCAN.run("triton", inputs).items():  # sums over 2048 rows: relative to the largest
        assert float((gradient - theirs[name]).abs().max()) <= 6e-4 * float(theirs[name].abs().max()) + 2e-3, name


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_changing_an_event_leaves_earlier_outputs_unchanged(backend: str) -> None:
    inputs = scan_inputs(length=9)
    before = SCAN.value(backend, inputs)
    inputs["x"][:, :, 5] += 1
    after = SCAN.value(backend, inputs)
    assert torch.equal(before[:, :, :5], after[:, :, :5])
    assert (before[:, :, 5:] != after[:, :, 5:]).any(dim=-1).all()


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_the_decay_affects_the_output_from_the_second_step_on(backend: str) -> None:
    inputs = scan_inputs(length=4)
    before = SCAN.value(backend, inputs)
    inputs["A"] *= 1.5
    after = SCAN.value(backend, inputs)
    assert torch.equal(before[:, :, 0], after[:, :, 0])
    assert (before[:, :, 1:] != after[:, :, 1:]).any(dim=-1).all()


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_only_empty_histories_give_zeros(backend: str) -> None:
    found = SCAN.run(backend, scan_inputs(batch=2, lengths=[[0, 0]]))
    assert all((value == 0).all() for value in found.values())


@pytest.mark.parametrize("backend", [backends.cpu])
def test_the_number_of_threads_does_not_change_a_bit(backend: str) -> None:
    inputs = scan_inputs(1, 70, 6, 5, 8)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = SCAN.run(backend, inputs)
        torch.set_num_threads(3)
        shared = SCAN.run(backend, inputs)
    finally:
        torch.set_num_threads(threads)
    assert_equal(shared, alone)


def test_float64_goes_to_plain_operations_and_keeps_its_precision() -> None:
    inputs = {n: a.double() if a is not None and a.is_floating_point() else a for n, a in scan_inputs().items()}
    assert choose_backend("auto", torch.device("cpu"), torch.float64) == "reference"
    assert_close(SCAN.run("chunked", inputs), SCAN.run("auto", inputs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("backend", "device", "dtype", "reason"),
    [
        ("mamba", "cpu", torch.float32, "unknown backend, expected one of auto, reference, chunked, cpu"),
        ("cpu", "mps", torch.float32, "the tensors are on mps"),
        ("cpu", "cpu", torch.float64, "the tensors are float64"),
        ("triton", "mps", torch.float32, "it needs CUDA, the tensors are on mps"),
        ("mamba_ssm", "cpu", torch.float32, "it needs CUDA, the tensors are on cpu"),
    ],
)
def test_a_backend_that_cannot_run_is_refused_in_one_line(
    backend: str, device: str, dtype: torch.dtype, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        choose_backend(backend, torch.device(device), dtype)
    assert "\n" not in str(caught.value)
    assert f"model.scan={backend}" in str(caught.value)


def test_a_device_without_a_kernel_gets_plain_operations() -> None:
    assert choose_backend("auto", torch.device("mps")) == "chunked"


def test_a_shape_that_does_not_fit_is_named() -> None:
    inputs = scan_inputs()
    inputs["B"] = torch.zeros(1, 2, 5, 3)
    with pytest.raises(ValueError, match=r"B has shape \(1, 2, 5, 3\), expected \(1, 2, 5, 8\)"):
        SCAN.run("auto", inputs)
