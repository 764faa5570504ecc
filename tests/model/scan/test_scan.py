"""The selective scan: every backend against the equations, and what must hold of each by itself."""

from functools import partial

import pytest
import torch
from torch import Tensor

from mdaf.model.scan import choose_backend, selective_scan
from tests.model import backends
from tests.model.backends import assert_close, assert_equal, device_of, interpreted, value_and_gradients

BACKENDS = [backends.cpu, "chunked", backends.triton]


def arguments(
    replica: int = 1,
    batch: int = 2,
    length: int = 5,
    channel: int = 8,
    state: int = 8,
    *,
    gated: bool = True,
    biased: bool = True,
    lengths: list[list[int]] | None = None,
    seed: int = 0,
) -> dict[str, Tensor | None]:
    generator = torch.Generator().manual_seed(seed)
    normal = partial(torch.randn, generator=generator)
    return {
        "x": normal(replica, batch, length, channel),
        "delta": normal(replica, batch, length, channel),
        "A": -4 * torch.rand(replica, channel, state, generator=generator) - 0.02,
        "B": normal(replica, batch, length, state),
        "C": normal(replica, batch, length, state),
        "D": normal(replica, channel),
        "z": normal(replica, batch, length, channel) if gated else None,
        "lengths": None if lengths is None else torch.tensor(lengths),
        "delta_bias": normal(replica, channel) if biased else None,
    }


def run(backend: str, inputs: dict[str, Tensor | None]) -> dict[str, Tensor]:
    placed = {name: None if a is None else a.to(device_of(backend)) for name, a in inputs.items()}
    return value_and_gradients(partial(selective_scan, backend=backend), placed)


def exact(inputs: dict[str, Tensor | None]) -> dict[str, Tensor]:
    """The reference in float64."""
    wide = {name: a.double() if a is not None and a.is_floating_point() else a for name, a in inputs.items()}
    return run("reference", wide)


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
        replica, batch, channel = 1, 1, min(channel, 9)
    ends = [[(length * (b + r + 1)) // 2 % (length + 1) for b in range(batch)] for r in range(replica)]
    lengths = ends if ragged else None
    inputs = arguments(replica, batch, length, channel, state, gated=gated, biased=biased, lengths=lengths)
    assert_close(run(backend, inputs), exact(inputs))


@pytest.mark.parametrize("backend", [backends.cpu, "chunked"])
def test_many_rows_give_the_values_and_gradients_of_the_equations(backend: str) -> None:
    generator = torch.Generator().manual_seed(3)
    lengths = torch.randint(0, 4, (1, 2048), generator=generator).tolist()
    inputs = arguments(batch=2048, length=3, channel=5, lengths=lengths)
    assert_close(run(backend, inputs), exact(inputs))


@pytest.mark.parametrize("other", [backends.mamba_ssm])
@pytest.mark.parametrize("length", [8, 50])
def test_the_triton_kernel_and_that_of_mamba_ssm_agree_at_full_size(other: str, length: int) -> None:
    lengths = torch.randint(0, length + 1, (1, 2048), generator=torch.Generator().manual_seed(4)).tolist()
    inputs = arguments(1, 2048, length, 256, 16, lengths=lengths)
    theirs = run(other, inputs)
    for name, gradient in run("triton", inputs).items():  # sums over 2048 rows: relative to the largest
        assert float((gradient - theirs[name]).abs().max()) <= 6e-4 * float(theirs[name].abs().max()) + 2e-3, name


@pytest.mark.parametrize("backend", [*BACKENDS, backends.mamba_ssm])
def test_bfloat16_stays_within_its_own_precision(backend: str) -> None:
    inputs = arguments(1, 2, 12, 9, 16, lengths=[[12, 7]])
    sequences = {"x", "delta", "B", "C", "z"}
    rounded = {name: a.bfloat16() if name in sequences and a is not None else a for name, a in inputs.items()}
    found = run(backend, rounded)
    assert found["y"].dtype == torch.bfloat16
    assert found["dA"].dtype == torch.float32
    assert_close(found, exact(rounded), rtol=3e-2, atol=5e-2)


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_changing_an_event_leaves_earlier_outputs_unchanged(backend: str) -> None:
    inputs = arguments(length=9)
    before = run(backend, inputs)["y"]
    assert inputs["x"] is not None
    inputs["x"][:, :, 5] += 1
    after = run(backend, inputs)["y"]
    assert torch.equal(before[:, :, :5], after[:, :, :5])
    assert (before[:, :, 5:] != after[:, :, 5:]).any(dim=-1).all()


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_the_decay_affects_the_output_from_the_second_step_on(backend: str) -> None:
    inputs = arguments(length=4)
    before = run(backend, inputs)["y"]
    assert inputs["A"] is not None
    inputs["A"] *= 1.5
    after = run(backend, inputs)["y"]
    assert torch.equal(before[:, :, 0], after[:, :, 0])
    assert (before[:, :, 1:] != after[:, :, 1:]).any(dim=-1).all()


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_positions_past_the_length_are_neither_read_nor_written_to_gradients(backend: str) -> None:
    lengths = [[6, 0, 3], [1, 6, 0]]
    inputs = arguments(2, 3, 6, 5, 8, lengths=lengths)
    clean = run(backend, inputs)
    past = torch.arange(6)[None, None, :] >= torch.tensor(lengths)[..., None]
    for name in ("x", "delta", "B", "C", "z"):
        tensor = inputs[name]
        assert tensor is not None
        tensor[past] = float("nan")
    spoiled = run(backend, inputs)
    assert_equal(spoiled, clean)
    for name in ("y", "dx", "ddelta", "dB", "dC", "dz"):
        assert (clean[name].cpu()[past] == 0).all(), name


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_only_empty_histories_give_zeros(backend: str) -> None:
    found = run(backend, arguments(batch=2, lengths=[[0, 0]]))
    assert all((value == 0).all() for value in found.values())


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_call_gives_the_same_bits(backend: str) -> None:
    inputs = arguments(2, 3, 6, 11, 16, lengths=[[6, 3, 0], [1, 2, 6]])
    assert_equal(run(backend, inputs), run(backend, inputs))


@pytest.mark.parametrize("backend", [backends.cpu])
def test_the_number_of_threads_does_not_change_a_bit(backend: str) -> None:
    inputs = arguments(1, 70, 6, 5, 8)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = run(backend, inputs)
        torch.set_num_threads(3)
        shared = run(backend, inputs)
    finally:
        torch.set_num_threads(threads)
    assert_equal(shared, alone)


@pytest.mark.parametrize("backend", [backends.cpu, backends.triton])
def test_a_replica_gives_the_bits_of_its_solo_run(backend: str) -> None:
    inputs = arguments(2, 3, 5, 6, 8, lengths=[[5, 3, 0], [1, 2, 5]])
    stacked = run(backend, inputs)
    for r in range(2):
        solo = run(backend, {name: None if a is None else a[r : r + 1] for name, a in inputs.items()})
        assert_equal(solo, {name: value[r : r + 1] for name, value in stacked.items()})


@pytest.mark.parametrize("backend", BACKENDS)
def test_slices_of_a_wider_projection_are_taken_as_they_are(backend: str) -> None:
    inputs = arguments(2, 2, 5, 6, 8, lengths=[[5, 2], [0, 5]])
    expected = run(backend, inputs)

    def from_wide(x: Tensor, z: Tensor, B: Tensor, C: Tensor, **others: Tensor | None) -> Tensor:
        x, z = torch.cat([x, z], dim=-1).split(x.shape[-1], dim=-1)
        _, B, C = torch.cat([x[..., :2], B, C], dim=-1).split([2, B.shape[-1], C.shape[-1]], dim=-1)
        assert not x.is_contiguous()
        assert not C.is_contiguous()
        return selective_scan(x=x, z=z, B=B, C=C, **others, backend=backend)  # type: ignore[arg-type]

    placed = {name: None if a is None else a.to(device_of(backend)) for name, a in inputs.items()}
    assert_equal(value_and_gradients(from_wide, placed), expected)


def test_float64_goes_to_plain_operations_and_keeps_its_precision() -> None:
    inputs = {n: a.double() if a is not None and a.is_floating_point() else a for n, a in arguments().items()}
    assert choose_backend("auto", torch.device("cpu"), torch.float64) == "reference"
    assert_close(run("chunked", inputs), run("auto", inputs), rtol=1e-12, atol=1e-12)


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
    inputs = arguments()
    inputs["B"] = torch.zeros(1, 2, 5, 3)
    with pytest.raises(ValueError, match=r"B has shape \(1, 2, 5, 3\), expected \(1, 2, 5, 8\)"):
        run("auto", inputs)
