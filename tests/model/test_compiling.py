"""Compiled kernels: the machine code that was just made and that found on disk compute the same."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import torch

from model.normed import normed_sum
from tests.sweeper.runs import ROOT


def main() -> None:
    """Prints what a layer normalization and its gradients come to, bit for bit."""
    torch.manual_seed(0)
    x, residual = (torch.randn(1, 300, 16, requires_grad=True) for _ in range(2))
    gain, shift, bias = (torch.randn(1, 16, requires_grad=True) for _ in range(3))
    out = normed_sum(x, gain, shift, 1e-5, bias, residual=residual)
    gradients = torch.autograd.grad(out.square().sum(), (x, residual, gain, shift, bias))
    print(hashlib.sha256(b"".join(part.detach().numpy().tobytes() for part in (out, *gradients))).hexdigest())


def computed(cache: Path) -> str:
    """What ``main`` prints in a process whose kernels are kept in ``cache``."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, "-m", "tests.model.test_compiling"]
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout


def test_a_kernel_that_was_just_compiled_rounds_like_one_that_is_found_on_disk(tmp_path: Path) -> None:
    compiling = computed(tmp_path)
    assert list(tmp_path.rglob("*.nbc"))
    assert computed(tmp_path) == compiling


if __name__ == "__main__":
    main()
