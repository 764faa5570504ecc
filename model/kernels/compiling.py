"""How the CPU's kernels are compiled: by numba, once, into machine code that is kept on disk.

What a kernel is made of is compiled into it, never called: of a function that is called there are two versions, one
compiled by itself and one within the kernel, and a process that has just compiled both would run another one than a
process that finds the kernel on disk. The two need not round alike.
"""

from __future__ import annotations

from numba import njit

#: What ``for_each_chunk`` calls.
kernel = njit(nogil=True, error_model="numpy", cache=True)
#: A loop of a kernel: may sum in any (but always the same) order, so that reductions vectorize. NaN and infinity keep
#: their meaning.
loop = njit(forceinline=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})
#: What relies on the order of its operations. The flags stay with each instruction, whatever the function becomes part
#: of.
exact = njit(forceinline=True, error_model="numpy", fastmath={"contract", "nsz"})
#: What puts these together, or computes in integers.
inlined = njit(forceinline=True, error_model="numpy")
