"""Reads the memory-mapped arrays of a store in parts."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np

from mdaf.errors import DataError

_PART = 1 << 20  # elements of an array that are read at once


def read_part(array: np.ndarray, part: slice) -> np.ndarray:
    """A copy of a contiguous part of one of a store's arrays.

    The pages of a mapped array that were read count as memory of the process, so a process that reads a large store
    part by part would reach its memory limit. This function therefore releases the pages after the copy. A mapped
    array stays readable if the store is replaced or removed meanwhile.
    """
    start, stop, step = part.indices(len(array))
    if step != 1 or not isinstance(array, np.memmap) or not isinstance(array.base, mmap.mmap):  # or a view of one
        return np.array(array[part])
    refuse_cut(array)
    copy = np.array(array[start:stop])
    if hasattr(mmap, "MADV_DONTNEED") and stop > start:
        first = (array.offset + start * array.itemsize) // mmap.PAGESIZE * mmap.PAGESIZE
        array.base.madvise(mmap.MADV_DONTNEED, first, array.offset + stop * array.itemsize - first)
    return copy


def read_parts(array: np.ndarray) -> Iterator[np.ndarray]:
    """Reads an array of a store part by part; see ``read_part``."""
    return (read_part(array, part) for part in parts_of(len(array)))


def read_at(array: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The values at some positions of one of a store's arrays, (positions,).

    Only the parts between the lowest and the highest position are read: positions that lie together cost little.
    """
    low, high = int(positions.min(initial=len(array))), int(positions.max(initial=-1))
    if high - low < _PART:
        return read_part(array, slice(low, high + 1))[positions - low]
    values = np.empty(len(positions), dtype=array.dtype)
    for part in parts_of(high + 1 - low):
        start, stop = low + part.start, low + part.stop
        here = (positions >= start) & (positions < stop)
        values[here] = read_part(array, slice(start, stop))[positions[here] - start]
    return values


def parts_of(length: int) -> Iterator[slice]:
    """Slices that cut an array of ``length`` elements into parts of bounded size."""
    return (slice(start, min(start + _PART, length)) for start in range(0, length, _PART))


def refuse_cut(array: np.ndarray) -> None:
    """DataError if the file of a mapped array has become too short for it.

    Without this check, the system would kill the process when it reads past the end of the file.
    """
    mapped = array.base
    if not isinstance(array, np.memmap) or not isinstance(mapped, mmap.mmap):
        return
    needed = array.offset + array.nbytes
    if (size := mapped.size()) < needed:
        raise DataError(
            f"{array.filename} has been cut to {size:,} bytes while it was read, expected {needed:,}; type the same "
            "command again, which prepares the store anew"
        )
