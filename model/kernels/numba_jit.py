"""Compiles the CPU kernels with numba, and keeps their machine code on disk. All files ``*_cpu.py`` use it.

Every function that a kernel uses is inlined into it, never called. numba would compile a called function twice: by
itself, and as a part of the kernel. The two versions may round differently. A process that compiles the kernel would
run one version, and a process that reads the kernel from disk the other, with different results.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import config, njit
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.compiler import Compiler

from mdaf.model.caches import temporary_folder
from mdaf.model.kernels.compile_lock import CompileLock
from mdaf.model.kernels.compiling import compilation

log = logging.getLogger(__name__)

_DIGEST = 16  # bytes


class _NoAliasCompiler(Compiler):
    """Tells LLVM that the arrays that a function is given do not overlap, if one of them is written.

    Without this, the compiled code compares addresses before each loop. If one array ends close before another, it runs
    a scalar loop, which may round differently from the vectorized one. The results of a narrow model would then depend
    on the addresses of its tensors.
    """

    def define_pipelines(self) -> Any:
        self.state.flags.noalias = True
        return super().define_pipelines()


_INLINED: dict[str, Any] = {
    "forceinline": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True, "error_model": "numpy",
    "pipeline_class": _NoAliasCompiler,
}  # fmt: skip
#: Decorator for a loop of a kernel. LLVM may reorder sums, so that reductions vectorize; the order is always the same.
#: NaN and infinity keep their meaning.
loop = njit(fastmath={"contract", "reassoc", "nsz", "arcp"}, **_INLINED)
#: Decorator for a function that relies on the order of its operations, or computes in integers. Its instructions keep
#: these flags when it is inlined.
exact = njit(fastmath={"contract", "nsz"}, **_INLINED)
#: Decorator for a function that calls many of these. numba inlines it before it compiles, which halves the time.
inlined = njit(inline="always", error_model="numpy")


def kernel(function: Callable[..., None]) -> Any:
    """Decorator for a function that ``for_each_chunk`` calls. Its machine code is cached on disk.

    The cache is discarded if any file with kernels changes. numba alone compares only the kernel's own file, although
    the functions that it inlines are in other files.
    """
    compiled = njit(nogil=True, error_model="numpy")(function)
    if not hasattr(compiled, "_cache"):  # under NUMBA_DISABLE_JIT
        return compiled
    with contextlib.suppress(RuntimeError):  # no folder can be written to: each process compiles it
        compiled._cache = _disk_cache(function)
    return compiled


def _disk_cache(function: Callable[..., None]) -> KernelCache:
    try:
        return KernelCache(function)
    except RuntimeError:  # numba's own folders cannot be written to
        if (folder := temporary_folder()) is None:
            raise
        config.CACHE_DIR = str(folder / "numba")  # type: ignore[attr-defined] # it reads the environment
        return KernelCache(function)


class KernelCache(FunctionCache):
    """The cache of a kernel's machine code on disk.

    If the cache cannot be read or written (the disk is full, the folder belongs to someone else, a file is damaged),
    the kernel is compiled again and the run goes on. If several processes need a kernel at the same time, one compiles
    it and the others wait for it.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        super().__init__(function)
        own = self._cache_file
        self._cache_file = _CheckedFile(own._cache_path, self._impl.filename_base, (own._source_stamp, _sources()))
        self._lock = CompileLock(Path(own._cache_path) / f"{self._impl.filename_base}.lock")

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled kernel for a signature, or None if this process must compile it; it then holds the lock."""
        found = self._load(sig, target_context)
        if found is None and self._lock.acquire():
            found = self._load(sig, target_context)  # another process may have compiled it meanwhile
            if found is not None:
                self._lock.release()
        if found is None:
            compilation.begin()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        """Writes a compiled kernel to disk if that is possible, and releases the lock."""
        try:
            super().save_overload(sig, data)
        except (OSError, RuntimeError) as error:  # numba's own error where it kept no object code
            log.info("%s takes no compiled kernel, the next process compiles it again: %s", self._cache_path, error)
        finally:
            self._lock.release()
            compilation.end()

    def _load(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # a damaged file can raise anything
            log.info("%s cannot be used, its kernel is compiled anew: %s", self._cache_path, error)
            return None


class _CheckedFile(IndexDataCacheFile):
    """numba's cache files with a digest before their content, since numba would run damaged machine code."""

    def _load_index(self) -> dict[Any, str]:
        try:
            version, stamp, overloads = pickle.loads(self._content(self._index_path))
        except OSError:  # missing or damaged
            return {}
        return overloads if (version, stamp) == (self._version, self._source_stamp) else {}

    def _save_index(self, overloads: dict[Any, str]) -> None:
        self._write(self._index_path, self._dump((self._version, self._source_stamp, overloads)))

    def _load_data(self, name: str) -> Any:
        return pickle.loads(self._content(self._data_path(name)))

    def _save_data(self, name: str, data: Any) -> None:
        self._write(self._data_path(name), self._dump(data))

    def _content(self, path: str) -> bytes:
        """The content of a file. Raises OSError if it is damaged, which numba treats like a missing file."""
        content = Path(path).read_bytes()
        digest, content = content[:_DIGEST], content[_DIGEST:]
        if digest != _digest(content):
            raise OSError(f"{path} is damaged")
        return content

    def _write(self, path: str, content: bytes) -> None:
        with self._open_for_write(path) as file:
            file.write(_digest(content) + content)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST).digest()


@cache
def _sources() -> tuple[tuple[str, int, int], ...]:
    """Name, time of change and size of every file with kernels: they differ after any change of the source."""
    here = Path(__file__).parent
    files = sorted([*here.glob("*.py"), *here.with_name("scan").glob("*.py")])
    return tuple((str(file), (facts := file.stat()).st_mtime_ns, facts.st_size) for file in files)
