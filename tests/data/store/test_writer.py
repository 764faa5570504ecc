from __future__ import annotations

from pathlib import Path

import numpy as np

from mdaf.data.store.writer import StoreWriter


def test_pieces_make_one_array(tmp_path: Path) -> None:
    pieces = [np.arange(5), np.arange(0), np.arange(123)]
    with StoreWriter(tmp_path) as writer:
        for piece in pieces:
            writer.events(piece, {"item": piece})
        assert writer.lengths == {"events.time": 128, "events.item": 128}
    times, items = np.load(tmp_path / "events.time.npy"), np.load(tmp_path / "events.item.npy", mmap_mode="r")
    assert np.array_equal(times, np.concatenate(pieces))
    assert np.array_equal(items, times)
    assert (times.dtype, items.dtype) == (np.int64, np.int32)


def test_an_array_of_nothing_can_be_read(tmp_path: Path) -> None:
    with StoreWriter(tmp_path) as writer:
        writer.user_offsets(np.zeros(0))
    assert np.load(tmp_path / "user_offsets.npy").shape == (0,)
