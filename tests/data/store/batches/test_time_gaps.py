from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from mdaf.data.store.batches.time_gaps import gap_bucket, gap_buckets, gap_edges

EDGES = [1, 2, 3] + [edge for octave in range(2, 24) for edge in (2**octave, 3 * 2 ** (octave - 1))]


def bucket(seconds: int, buckets: int = 100) -> int:
    return int(gap_bucket(torch.tensor([seconds], dtype=torch.int32), buckets))


def test_each_edge_begins_a_bucket() -> None:
    assert [bucket(edge) for edge in EDGES] == list(range(len(EDGES)))
    assert [bucket(edge - 1) for edge in EDGES[1:]] == list(range(len(EDGES) - 1))


def test_the_edges_that_an_export_names_are_those_of_the_buckets() -> None:
    assert gap_edges(len(EDGES)) == EDGES
    assert gap_edges(1) == [1]


@given(st.integers(1, 2**24))
def test_the_longest_gap_falls_into_the_last_bucket(longest: int) -> None:
    assert bucket(longest) == gap_buckets(longest) - 1


def test_longer_gaps_than_training_has_fall_into_the_last_bucket() -> None:
    assert bucket(10**9, buckets=5) == 4
