"""Where compiled kernels are kept, and what becomes of them when that goes wrong: they are compiled again."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numba import config
from numba.core import caching

from mdaf.model import caches
from mdaf.model.kernels import numba_jit
from tests.sweeper.tiny import ROOT


def _doubled(values: np.ndarray) -> None:
    for place in range(len(values)):
        values[place] *= 2


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where kernels are kept."""
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    return tmp_path


def compiled(compilations: list[object] | None = None) -> None:
    """The kernel, compiled or found on the disk; each compilation is noted."""
    kernel = numba_jit.kernel(_doubled)
    values = np.array([1.0, 2.0])
    kernel(values)
    assert values.tolist() == [2.0, 4.0]
    if compilations is not None:
        compilations.extend(kernel.stats.cache_misses)


def test_a_kernel_is_found_on_the_disk(folder: Path) -> None:
    compilations: list[object] = []
    compiled(compilations)
    compiled(compilations)
    assert len(compilations) == 1
    assert len(list(folder.rglob("*.nbc"))) == 1


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
        lambda content: b"junk",
    ],
)
def test_a_damaged_kernel_on_the_disk_is_compiled_again_and_replaced(
    folder: Path, suffix: str, damage: Callable[[bytes], bytes]
) -> None:
    compiled()
    [file] = folder.rglob(f"*.{suffix}")
    file.write_bytes(damage(file.read_bytes()))
    compilations: list[object] = []
    compiled(compilations)
    compiled(compilations)
    assert len(compilations) == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_takes_no_kernel_costs_its_compilation_only(
    folder: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(numba_jit._CheckedFile, "_open_for_write", full)
    compiled()
    assert not list(folder.rglob("*.nbc"))


@pytest.fixture
def no_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Numba may write neither beside the source nor in the user's home; the system's temporary folder."""
    monkeypatch.setattr(config, "CACHE_DIR", "")
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [caching.UserProvidedCacheLocator])
    monkeypatch.setattr(caches.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(caches.tempfile, "tempdir", str(tmp_path))
    caches.temporary_folder.cache_clear()
    yield tmp_path
    caches.temporary_folder.cache_clear()


def test_without_a_folder_of_its_own_numba_gets_a_private_temporary_one(no_folder_of_its_own: Path) -> None:
    compiled()
    [folder] = no_folder_of_its_own.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list(folder.rglob("*.nbc"))


def test_a_temporary_folder_that_others_may_write_to_is_not_used(no_folder_of_its_own: Path) -> None:
    taken = no_folder_of_its_own / f"mdaf-sweep-{os.getuid()}"
    taken.mkdir()
    taken.chmod(0o777)
    compiled()
    assert not list(taken.rglob("*"))
    assert list(no_folder_of_its_own.rglob("*.nbc"))


def test_without_any_folder_each_process_compiles_for_itself(
    no_folder_of_its_own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caches.tempfile, "gettempdir", lambda: str(no_folder_of_its_own / "gone"))
    monkeypatch.setattr(caches.tempfile, "tempdir", str(no_folder_of_its_own / "gone"))
    compiled()


NAMED = "import mdaf.model, os; print(*(os.environ.get(name) for name in ('TRITON_CACHE_DIR', 'LOGNAME')), sep='|')"


def named(**environment: str) -> str:
    """Triton's folder and the user's name, as the program leaves them."""
    path = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    command = [sys.executable, "-c", NAMED]
    ended = subprocess.run(command, cwd=ROOT, env={**path, **environment}, check=True, capture_output=True, text=True)
    return ended.stdout.strip()


def test_a_home_that_is_not_there_names_a_temporary_folder_to_triton(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    kept = tmp_path / f"mdaf-sweep-{os.getuid()}" / "triton"
    home = str(tmp_path / "file" / "home")
    assert named(HOME=home, LOGNAME="me", TMPDIR=str(tmp_path)) == f"{kept}|me"
    assert named(HOME=home, LOGNAME="me", TRITON_CACHE_DIR="mine", TMPDIR=str(tmp_path)) == "mine|me"
    assert named(HOME=str(tmp_path), LOGNAME="me") == "None|me"
