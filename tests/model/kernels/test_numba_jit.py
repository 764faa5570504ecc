"""Compiled kernels: the machine code that was just made and that found on disk compute the same."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mdaf.model.kernels import numba_jit
from mdaf.model.ops.layer_norm import normed_sum
from tests.sweeper.tiny import ROOT


def main() -> None:
    """Prints what a layer normalization and its gradients come to, bit for bit."""
    torch.manual_seed(0)
    x, residual = (torch.randn(1, 300, 16, requires_grad=True) for _ in range(2))
    gain, shift, bias = (torch.randn(1, 16, requires_grad=True) for _ in range(3))
    out = normed_sum(x, gain, shift, 1e-5, bias, residual=residual)
    gradients = torch.autograd.grad(out.square().sum(), (x, residual, gain, shift, bias))
    print(hashlib.sha256(b"".join(part.detach().numpy().tobytes() for part in (out, *gradients))).hexdigest())


def printed(folder: Path, module: str, cache: Path) -> str:
    """What a module prints in a process of its own whose kernels are kept in ``cache``."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, "-m", module]
    return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_a_kernel_that_was_just_compiled_rounds_like_one_that_is_found_on_disk(tmp_path: Path) -> None:
    first = printed(ROOT, "tests.model.kernels.test_numba_jit", tmp_path)
    assert list(tmp_path.rglob("*.nbc"))
    assert printed(ROOT, "tests.model.kernels.test_numba_jit", tmp_path) == first


PART = """
from kernels.numba_jit import inlined

@inlined
def changed(x):
    return x + 1
"""
WHOLE = """
import numpy as np
from kernels.numba_jit import kernel
from kernels.part import changed

@kernel
def whole(x):
    x[0] = changed(x[0])

x = np.zeros(1)
whole(x)
print(x[0])
"""


def test_a_kernel_on_disk_is_not_used_once_a_part_of_it_in_another_file_has_changed(tmp_path: Path) -> None:
    kernels, cache = tmp_path / "kernels", tmp_path / "cache"
    kernels.mkdir()
    shutil.copy(numba_jit.__file__, kernels)
    (kernels / "part.py").write_text(PART)
    (kernels / "whole.py").write_text(WHOLE)
    assert printed(tmp_path, "kernels.whole", cache) == "1.0\n"
    (kernels / "part.py").write_text(PART.replace("x + 1", "x + 20"))
    assert printed(tmp_path, "kernels.whole", cache) == "20.0\n"


def test_of_processes_that_want_a_kernel_at_once_one_compiles_it_and_the_others_wait_for_it(tmp_path: Path) -> None:
    (tmp_path / "kernels").mkdir()
    shutil.copy(numba_jit.__file__, tmp_path / "kernels")
    (tmp_path / "kernels" / "part.py").write_text(PART)
    (tmp_path / "kernels" / "whole.py").write_text(WHOLE + "print(sum(whole.stats.cache_misses.values()))")
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "kernels.whole"]
    beside = [
        subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) for _ in "123"
    ]
    said = sorted(process.communicate()[0] for process in beside)
    assert said == ["1.0\n0\n", "1.0\n0\n", "1.0\n1\n"]


def test_a_kernel_whose_machine_code_numba_does_not_hand_over_runs_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "kernels").mkdir()
    shutil.copy(numba_jit.__file__, tmp_path / "kernels")
    (tmp_path / "kernels" / "part.py").write_text(PART)
    lost = """
from numba.core.codegen import CodeLibrary

def no_object(self):
    raise RuntimeError(f"no compiled object yet for {self}")

CodeLibrary._get_compiled_object = no_object
"""
    (tmp_path / "kernels" / "whole.py").write_text(lost + WHOLE)
    for _ in "12":
        assert printed(tmp_path, "kernels.whole", tmp_path / "cache") == "1.0\n"
    assert not list((tmp_path / "cache").rglob("*.nbc"))


if __name__ == "__main__":
    main()
