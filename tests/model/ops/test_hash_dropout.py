"""Dropout by hash: the same mask on every backend, uniform, and unrelated between keys, positions and replicas."""

import pytest
import torch
from torch import Tensor

from mdaf.model.ops.hash_dropout import hash_dropout, keep_mask
from tests.model import backends
from tests.model.backends import CUDA, device_of

BACKENDS = [backends.cpu]
KEYS = [0, 1, 2, -1, 2**62 + 12345, -(2**63)]


def ones_through(backend: str, rate: Tensor, key: Tensor, *shape: int) -> Tensor:
    device = device_of(backend)
    return hash_dropout(torch.ones(len(rate), *shape, device=device), rate.to(device), key.to(device), backend).cpu()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("elements", [1, 7, 1000, 140_001])
def test_every_backend_drops_the_same_elements_and_scales_alike(backend: str, elements: int) -> None:
    rate = torch.tensor([0.0, 0.1, 0.3, 0.5, 0.9, 0.999])
    key = torch.tensor(KEYS)
    torch.testing.assert_close(
        ones_through(backend, rate, key, elements), ones_through("reference", rate, key, elements), rtol=2e-7, atol=0
    )


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_rate_zero_is_the_identity(backend: str) -> None:
    device = device_of(backend)
    x = torch.randn(2, 3, 50, device=device, requires_grad=True)
    y = hash_dropout(x, torch.zeros(2, device=device), torch.tensor([3, 4], device=device), backend)
    dy = torch.randn(2, 3, 50, device=device)
    y.backward(dy)
    assert torch.equal(y, x)
    assert x.grad is not None
    assert torch.equal(x.grad, dy)


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_the_gradient_passes_where_the_value_passed(backend: str) -> None:
    device = device_of(backend)
    x = torch.ones(2, 40, 5, device=device, requires_grad=True)
    y = hash_dropout(x, torch.tensor([0.4, 0.7], device=device), torch.tensor([8, 8], device=device), backend)
    y.backward(torch.ones_like(y))
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())
    assert (y == 0).any()


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_a_replica_has_the_mask_of_its_solo_run(backend: str) -> None:
    rate, key = torch.tensor([0.2, 0.5, 0.5]), torch.tensor([11, 12, 13])
    stacked = ones_through(backend, rate, key, 4, 77)
    for r in range(3):
        assert torch.equal(stacked[r : r + 1], ones_through(backend, rate[r : r + 1], key[r : r + 1], 4, 77))


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_what_is_dropped_is_zero_whatever_stood_there(backend: str) -> None:
    device = device_of(backend)
    x = torch.full((1, 1000), float("inf"), device=device)
    y = hash_dropout(x, torch.tensor([0.5], device=device), torch.tensor([5], device=device), backend)
    assert set(y.unique().tolist()) == {0.0, float("inf")}


def test_bfloat16_drops_the_same_elements_as_float32() -> None:
    rate, key = torch.tensor([0.3]), torch.tensor([21])
    narrow = hash_dropout(torch.ones(1, 500, dtype=torch.bfloat16), rate, key)
    assert narrow.dtype == torch.bfloat16
    assert torch.equal(narrow != 0, hash_dropout(torch.ones(1, 500), rate, key) != 0)


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.5, 0.8])
def test_the_share_dropped_is_the_rate_for_every_key(rate: float) -> None:
    elements = 200_000
    keys = torch.arange(16) * 7 - 50
    dropped = (~keep_mask(torch.full((16,), rate), keys, elements)).float().mean(1)
    deviation = (rate * (1 - rate) / elements) ** 0.5
    assert (dropped - rate).abs().max() < 5 * deviation


def test_masks_of_neighbouring_keys_are_unrelated() -> None:
    elements = 100_000
    keep = keep_mask(torch.full((64,), 0.5), torch.arange(64), elements).float()
    correlation = torch.corrcoef(keep) - torch.eye(64)
    assert correlation.abs().max() < 5.5 / elements**0.5


def test_masks_of_neighbouring_positions_are_unrelated() -> None:
    elements = 400_000
    signs = keep_mask(torch.tensor([0.5]), torch.tensor([9]), elements)[0].float() * 2 - 1
    for lag in [1, 2, 3, 4, 8, 16, 64, 128, 256, 1024, 12800, 65536]:
        product = (signs[lag:] * signs[:-lag]).mean()
        assert product.abs() < 5 / (elements - lag) ** 0.5, lag


def test_each_bit_of_the_key_changes_half_of_the_mask() -> None:
    elements = 50_000
    base = 0x1234_5678_9ABC_DEF
    keys = torch.tensor([base, *(base ^ (1 << bit) for bit in range(63))])
    keep = keep_mask(torch.full((64,), 0.5), keys, elements)
    changed = (keep[1:] != keep[0]).float().mean(1)
    assert (changed - 0.5).abs().max() < 5.5 * 0.5 / elements**0.5


@pytest.mark.skipif(not CUDA, reason="there is no GPU")
def test_a_gpu_drops_the_same_elements_as_a_cpu() -> None:
    rate, key = torch.full((len(KEYS),), 0.3), torch.tensor(KEYS)
    there = hash_dropout(torch.ones(len(KEYS), 5000, device="cuda"), rate.cuda(), key.cuda())
    torch.testing.assert_close(there.cpu(), ones_through("cpu", rate, key, 5000), rtol=2e-7, atol=0)


def test_a_backend_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown backend triton, expected one of auto, reference, cpu"):
        hash_dropout(torch.ones(1, 3), torch.zeros(1), torch.zeros(1, dtype=torch.int64), "triton")


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rate \(1,\)"):
        hash_dropout(torch.ones(2, 3), torch.zeros(1), torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_the_mask_of_a_sequence_does_not_depend_on_its_padding(backend: str) -> None:
    device = device_of(backend)
    rate, key = torch.tensor([0.5, 0.3], device=device), torch.tensor([5, 6], device=device)
    tight, wide = torch.ones(2, 7, 3, 4, device=device), torch.ones(2, 7, 9, 4, device=device)
    padded = hash_dropout(wide, rate, key, row_pitch=9 * 4, backend=backend)
    assert torch.equal(hash_dropout(tight, rate, key, row_pitch=9 * 4, backend=backend), padded[:, :, :3])
    assert torch.equal(padded, hash_dropout(wide, rate, key, backend=backend))


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
@pytest.mark.parametrize("pitch", [12, 20])
def test_a_piece_of_a_batch_has_the_mask_of_its_rows(backend: str, pitch: int) -> None:
    device = device_of(backend)
    rate, key = torch.tensor([0.5, 0.3], device=device), torch.tensor([5, 6], device=device)
    whole = hash_dropout(torch.ones(2, 9, 3, 4, device=device), rate, key, backend, pitch)
    piece = hash_dropout(torch.ones(2, 4, 3, 4, device=device), rate, key, backend, pitch, first_row=5)
    assert torch.equal(piece, whole[:, 5:])
