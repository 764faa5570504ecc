"""Kernels that are compiled ahead, for a GPU that is not there: Triton needs none to compile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mdaf.model.kernels.precompile import know_triton, requests_only
from tests.sweeper.tiny import ROOT


class Absent:
    """A CUDA device as Triton's compiler asks for it."""

    def is_active(self) -> bool:
        return True

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> object:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)


def main() -> None:
    """Prints how many kernels are asked for by two lookups, after them, and of one with wider rows."""
    import triton

    triton.runtime.driver.set_active(Absent())
    from mdaf.model.kernels.embedding_triton import gather

    ids = torch.tensor([2, 0], dtype=torch.int32)
    table = torch.ones(3, 16)
    out = torch.zeros(2, 16)
    with requests_only() as asked:
        gather(table, ids, out)
        gather(table, ids, out)
    print(len(asked), end=" ")
    asked.compile(lambda: None)
    with requests_only() as again:
        gather(table, ids, out)
    print(len(again), end=" ")
    with requests_only() as wider:
        gather(torch.ones(3, 32), ids, torch.zeros(2, 32))
    print(len(wider), int(out.count_nonzero()))


def test_kernels_are_asked_for_once_and_compiled_and_none_is_run(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.model.kernels.test_precompile"]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["1", "0", "1", "0"]
    assert len(list(tmp_path.rglob("_embedding_gather.cubin"))) == 1
    assert len(list(tmp_path.glob("*.compiled"))) == 1  # which tells other processes that they need not wait


def test_the_hash_of_triton_s_own_files_is_known_once_its_thread_has_ended() -> None:
    cache = pytest.importorskip("triton.runtime.cache")
    know_triton().join()
    assert cache.triton_key.cache_info().currsize == 1


if __name__ == "__main__":
    main()
