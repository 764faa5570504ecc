from __future__ import annotations

from mdaf.streams import stream_seed


def test_a_stream_is_the_same_on_every_machine() -> None:
    assert stream_seed(42, "order", 0) == 6559743570485470731


def test_streams_of_other_names_numbers_or_seeds_differ() -> None:
    seeds = [stream_seed(*key) for key in ((1, "a"), (2, "a"), (1, "b"), (1, "a", 0), (1, "a", 1), (1, "a0"), (1,))]
    assert len(set(seeds)) == len(seeds)


def test_a_seed_fits_a_generator() -> None:
    assert all(0 <= stream_seed(seed, "x") < 2**63 for seed in range(200))
