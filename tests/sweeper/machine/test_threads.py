"""How many threads a forward pass takes."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from mdaf.model.layers.basic import Embedding, Linear
from mdaf.sweeper.machine.threads import WORTH_THREADS, threads_for, weights_of_layers

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def three_threads(set_threads: Callable[[int], None]) -> None:
    set_threads(3)


def test_little_work_takes_one_thread_and_much_takes_all() -> None:
    with threads_for(WORTH_THREADS - 1, CPU):
        assert torch.get_num_threads() == 1
    with threads_for(WORTH_THREADS, CPU):
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 3


def test_the_threads_are_given_back_when_a_step_fails() -> None:
    with pytest.raises(RuntimeError), threads_for(1, CPU):
        raise RuntimeError
    assert torch.get_num_threads() == 3


def test_batches_that_are_gathered_for_a_gpu_keep_their_threads() -> None:
    with threads_for(1, torch.device("cuda")):
        assert torch.get_num_threads() == 3


def test_work_that_nothing_is_known_of_keeps_its_threads() -> None:
    with threads_for(0, CPU):
        assert torch.get_num_threads() == 3


def test_tables_are_looked_up_and_not_multiplied() -> None:
    model = nn.ModuleList([Embedding(100, 4), nn.Embedding(100, 4), Linear(4, 5), Linear(5, 1, bias=False)])
    assert weights_of_layers(model) == 4 * 5 + 5 + 5
