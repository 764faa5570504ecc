"""How a batch is cut: within its bounds, and cheaper than other ways."""

import pytest
import torch

from mdaf.sweeper.training.stepping.microbatches import (
    BLOCK,
    CALLS,
    CALLS_AT_ONCE,
    CHANNELS,
    MORE_ROWS,
    forward_pass_sizes,
    micro_batch_sizes,
    position_weight,
    rows_of_a_pass,
    sizes_for_workers,
)
from tests.model.zoo import zoo_model


def positions(longest: list[int], sizes: list[int], replicas: int = 1) -> list[int]:
    """What each piece computes."""
    ends = [sum(sizes[: n + 1]) for n in range(len(sizes))]
    return [replicas * size * (1 + longest[end - 1]) for size, end in zip(sizes, ends, strict=True)]


def test_a_batch_of_like_histories_is_one_piece_where_it_fits() -> None:
    assert micro_batch_sizes([3] * 2048, 1, 8192) == [2048]


def test_no_piece_computes_more_than_it_may_unless_it_is_one_block() -> None:
    longest = [0] * 1000 + [50] * 1048
    for limit in (1000, 8192, 20000):
        sizes = micro_batch_sizes(longest, 1, limit)
        assert sum(sizes) == len(longest)
        assert all(
            computed <= limit or size <= BLOCK for size, computed in zip(sizes, positions(longest, sizes), strict=True)
        )


def test_replicas_share_what_a_piece_may_compute() -> None:
    sizes = micro_batch_sizes([9] * 2048, 5, 8192)
    assert max(positions([9] * 2048, sizes, replicas=5)) <= 8192


def test_a_model_with_narrow_events_computes_more_of_them_at_a_time() -> None:
    wide, narrow = zoo_model("mdaf_mamba"), zoo_model("dcnv2")
    assert position_weight(wide, 3) == 3
    assert position_weight(narrow, 1) == narrow.event_channels / CHANNELS < 0.1
    assert len(micro_batch_sizes([50] * 2048, position_weight(wide, 1), 16384)) > 4
    assert micro_batch_sizes([50] * 2048, position_weight(narrow, 1), 16384) == [2048]


@pytest.mark.parametrize("fixed", [64, 128, 512, 2048])
def test_no_equal_pieces_are_cheaper(fixed: int) -> None:
    longest = sorted(min(50, (7919 * i) % 997 // 40) for i in range(2048))

    def cost(sizes: list[int]) -> int:
        return sum(positions(longest, sizes)) + CALLS * len(sizes)

    assert cost(micro_batch_sizes(longest, 1, 10**9)) <= cost([fixed] * (2048 // fixed))


def test_a_short_batch_is_cut_too() -> None:
    assert micro_batch_sizes([2], 1, 8192) == [1]
    assert sum(micro_batch_sizes([5] * 100, 1, 128)) == 100


def test_without_training_rows_are_cut_alike_and_never_into_more_than_is_asked_for() -> None:
    lengths = torch.tensor([[0] * 3000 + [3] * 500, [1] * 2000 + [9] * 1500])
    sizes = forward_pass_sizes(lengths, 1024, 16384, weight=2)
    assert sum(sizes) == 3500
    assert max(sizes) <= 1024
    assert max(positions(lengths.amax(dim=0).tolist(), sizes, replicas=2)) <= 16384


def test_a_gpu_evaluates_more_rows_at_a_time_where_histories_are_short() -> None:
    longest = [0] * 9000 + [2] * 3000 + [20] * 5000 + [50] * 3000
    sizes = forward_pass_sizes(torch.tensor([longest]), 1024, None, weight=1)
    assert sum(sizes) == len(longest)
    assert len(sizes) < len(longest) / 1024 / 2
    assert max(positions(longest, sizes)) <= 1024 * 51
    assert max(sizes) <= MORE_ROWS * 1024


def test_few_replicas_are_evaluated_in_passes_of_more_rows_where_memory_is_large_and_many_in_passes_of_fewer() -> None:
    def rows(replicas: int, memory: float) -> int:
        return rows_of_a_pass(4096, replicas, replicas, longest=18, memory=int(memory))

    large, small = 140e9, 8e9
    assert rows(1, large) > rows(5, large) > 4096 == rows(8, large)
    assert rows(40, large) == rows(40, small) == 4096 * 8 // 40
    assert rows(1, small) == rows(5, small) == 4096
    assert rows_of_a_pass(1, 1, 40, longest=18, memory=int(large)) == 1


@pytest.mark.parametrize("longest", [[0] * 3500, [50] * 3500, [*range(50)] + [50] * 3450])
def test_a_gpu_evaluates_histories_of_one_length_in_passes_of_as_many_rows_as_were_asked_for(
    longest: list[int],
) -> None:
    assert forward_pass_sizes(torch.tensor([longest]), 1024, None, weight=1) == [1024, 1024, 1024, 428]


@pytest.mark.parametrize("bound", [16384, None])
def test_no_rows_are_no_pass(bound: int | None) -> None:
    assert forward_pass_sizes(torch.zeros(2, 0, dtype=torch.int64), 1024, bound, weight=2) == []


def test_workers_get_the_same_to_do_where_histories_are_alike() -> None:
    assert sizes_for_workers([3] * 2048, 1, 16384, workers=2) == [1024, 1024]
    assert sizes_for_workers([0] * 2048, 1, 16384, workers=4) == [512] * 4


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_are_done_sooner_than_with_the_cut_for_one_after_the_other(workers: int) -> None:
    def end(sizes: list[int]) -> float:
        ends = [0.0] * workers
        for computed in sorted(positions(longest, sizes), reverse=True):
            ends[ends.index(min(ends))] += computed + CALLS_AT_ONCE
        return max(ends)

    for longest in ([0] * 1000 + [50] * 1048, list(range(64)) * 32, [7] * 1500 + [9] * 548):
        longest.sort()
        sizes = sizes_for_workers(longest, 1, 16384, workers)
        assert sum(sizes) == len(longest)
        assert end(sizes) < end(micro_batch_sizes(longest, 1, 16384))


def test_workers_have_no_more_than_two_micro_batches_of_full_size_in_memory() -> None:
    longest = [30] * 8192
    for workers in (2, 4, 8):
        assert workers * max(positions(longest, sizes_for_workers(longest, 1, 16384, workers))) <= 2 * 16384


def test_a_batch_of_one_block_is_one_piece_for_any_number_of_workers() -> None:
    assert sizes_for_workers([5] * 64, 1, 16384, workers=4) == [64]
