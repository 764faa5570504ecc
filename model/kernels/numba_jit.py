"""How the CPU's kernels are compiled: by numba, once, into machine code that is kept on disk.

What a kernel is made of is compiled into it, never called: of a function that is called there are two versions, one
compiled by itself and one within the kernel, and a process that has just compiled both would run another one than a
process that finds the kernel on disk. The two need not round alike.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import pickle
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import config, njit
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.compiler import Compiler

from mdaf.model.caches import temporary_folder

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

_DIGEST = 16  # bytes
_LONGEST_WAIT = 120.0  # seconds; no kernel takes so long to compile


class _NoAliasCompiler(Compiler):
    """Tells LLVM that no two arrays that a part is given overlap where one of them is written.

    LLVM would find out itself each time that a loop begins, and if an array ends less than a vector or two before
    another go the way element by element, which need not round as the vectors do: a narrow model's results would
    depend on where its tensors happen to lie.
    """

    def define_pipelines(self) -> Any:
        self.state.flags.noalias = True
        return super().define_pipelines()


_PART: dict[str, Any] = {
    "forceinline": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True, "error_model": "numpy",
    "pipeline_class": _NoAliasCompiler,
}  # fmt: skip
#: A loop of a kernel: may sum in any (but always the same) order, so that reductions vectorize. NaN and infinity keep
#: their meaning.
loop = njit(fastmath={"contract", "reassoc", "nsz", "arcp"}, **_PART)
#: What relies on the order of its operations, or computes in integers. The flags stay with each instruction, whatever
#: the function becomes part of.
exact = njit(fastmath={"contract", "nsz"}, **_PART)
#: What puts many of these together: becomes part of its caller before either is compiled, which takes half the time.
inlined = njit(inline="always", error_model="numpy")


def kernel(function: Callable[..., None]) -> Any:
    """What ``for_each_chunk`` calls. Its machine code is that of this very source: numba looks at a kernel's own file
    alone, but its parts stand in others."""
    compiled = njit(nogil=True, error_model="numpy")(function)
    if not hasattr(compiled, "_cache"):  # under NUMBA_DISABLE_JIT
        return compiled
    with contextlib.suppress(RuntimeError):  # no folder takes it: each process compiles it
        compiled._cache = _kept(function)
    return compiled


def _kept(function: Callable[..., None]) -> KeptKernel:
    try:
        return KeptKernel(function)
    except RuntimeError:  # numba's own folders cannot be written to
        if (folder := temporary_folder()) is None:
            raise
        config.CACHE_DIR = str(folder / "numba")  # type: ignore[attr-defined] # it reads the environment
        return KeptKernel(function)


class KeptKernel(FunctionCache):
    """A kernel's machine code on disk. A cache that cannot be read or written costs the time of compiling, and no run:
    the disk may be full, the folder someone else's, a file damaged.

    Of the processes that want a kernel at once, one compiles it and the others wait for it.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        super().__init__(function)
        own = self._cache_file
        self._cache_file = _CheckedFile(own._cache_path, self._impl.filename_base, (own._source_stamp, _sources()))
        self._turn = _Turn(Path(own._cache_path) / f"{self._impl.filename_base}.lock")

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled kernel of a signature; None where this process must compile it, whose turn it then is."""
        found = self._load(sig, target_context)
        if found is None and self._turn.take():
            found = self._load(sig, target_context)  # another process may have compiled it meanwhile
            if found is not None:
                self._turn.end()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keeps a compiled kernel, where the disk takes it."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            log.info("%s takes no compiled kernel, the next process compiles it again: %s", self._cache_path, error)
        finally:
            self._turn.end()

    def _load(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # whatever what lies there makes its reader raise
            log.info("%s cannot be used, its kernel is compiled anew: %s", self._cache_path, error)
            return None


class _Turn:
    """Whose turn it is to compile a kernel: a lock that the system takes back from a process that dies.

    Numba lets one thread of a process compile at a time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Waits for this process's turn; False where nobody can wait, or waited too long for a process that stands."""
        self.end()  # compiling may have failed before
        if fcntl is None:
            return False
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return False
        until = time.monotonic() + _LONGEST_WAIT
        while time.monotonic() < until:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.05)
            except OSError:  # a file system without locks
                break
            else:
                return True
        self.end()
        return False

    def end(self) -> None:
        """Lets the next process have its turn."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class _CheckedFile(IndexDataCacheFile):
    """Numba's files with a digest before their content: it would run whatever machine code lies there."""

    def _load_index(self) -> dict[Any, str]:
        try:
            version, stamp, overloads = pickle.loads(self._content(self._index_path))
        except OSError:  # not there, or damaged
            return {}
        return overloads if (version, stamp) == (self._version, self._source_stamp) else {}

    def _save_index(self, overloads: dict[Any, str]) -> None:
        self._write(self._index_path, self._dump((self._version, self._source_stamp, overloads)))

    def _load_data(self, name: str) -> Any:
        return pickle.loads(self._content(self._data_path(name)))

    def _save_data(self, name: str, data: Any) -> None:
        self._write(self._data_path(name), self._dump(data))

    def _content(self, path: str) -> bytes:
        """What a file holds; OSError, which numba takes for a file that is not there, if that is damaged."""
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
    """What tells one state of all kernels' source from another."""
    here = Path(__file__).parent
    files = sorted([*here.glob("*.py"), *here.with_name("scan").glob("*.py")])
    return tuple((str(file), (facts := file.stat()).st_mtime_ns, facts.st_size) for file in files)
