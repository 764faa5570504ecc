"""How the CPU's kernels are compiled: by numba, once, into machine code that is kept on disk.

What a kernel is made of is compiled into it, never called: of a function that is called there are two versions, one
compiled by itself and one within the kernel, and a process that has just compiled both would run another one than a
process that finds the kernel on disk. The two need not round alike.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.compiler import Compiler


class _Apart(Compiler):
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
    "pipeline_class": _Apart,
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
    compiled = njit(nogil=True, error_model="numpy", cache=True)(function)
    if kept := getattr(compiled, "_cache", None):  # there is none under NUMBA_DISABLE_JIT
        kept._cache_file._source_stamp = (kept._cache_file._source_stamp, _sources())
    return compiled


@cache
def _sources() -> tuple[tuple[str, int, int], ...]:
    """What tells one state of all kernels' source from another."""
    files = sorted(Path(__file__).parents[1].glob("*/*.py"))
    return tuple((str(file), (facts := file.stat()).st_mtime_ns, facts.st_size) for file in files)
