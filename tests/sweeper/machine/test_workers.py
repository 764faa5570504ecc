"""Parts that several threads compute at once."""

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar

import pytest
import torch

from mdaf.sweeper.machine.threads import MOST_WORKERS, WORTH_THREADS, workers_for
from mdaf.sweeper.machine.workers import at_once

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def four_threads(set_threads: Callable[[int], None]) -> None:
    set_threads(4)


def test_each_part_is_computed_once_and_the_workers_share_the_threads() -> None:
    done: list[tuple[int, int, int]] = []
    both_there = threading.Barrier(2, timeout=30)

    def compute(worker: int, part: int) -> None:
        if part < 2:
            both_there.wait()  # neither takes both of the first two
        done.append((part, worker, torch.get_num_threads()))

    at_once(compute, 7, 2)
    assert sorted(part for part, _, _ in done) == list(range(7))
    assert {worker for _, worker, _ in done} == {0, 1}
    assert {threads for _, _, threads in done} == {2}
    assert torch.get_num_threads() == 4


def test_workers_see_the_context_variables_and_the_grad_mode_of_the_caller() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="of nobody")
    variable.set("of the caller")
    seen: dict[int, tuple[str, bool]] = {}
    both_there = threading.Barrier(2, timeout=30)

    def compute(worker: int, part: int) -> None:
        both_there.wait()
        seen[worker] = variable.get(), torch.is_grad_enabled()

    with torch.no_grad():
        at_once(compute, 2, 2)
    assert seen == {0: ("of the caller", False), 1: ("of the caller", False)}


@pytest.mark.parametrize("failing", [0, 1])
def test_an_exception_is_raised_once_when_all_threads_have_ended_and_no_part_is_begun_after_it(failing: int) -> None:
    begun: list[int] = []
    ended: list[int] = []
    both_there = threading.Barrier(2, timeout=30)

    def compute(worker: int, part: int) -> None:
        begun.append(part)
        both_there.wait()
        if worker == failing:
            raise KeyboardInterrupt(f"worker {worker}")
        time.sleep(0.05)
        ended.append(part)

    with pytest.raises(KeyboardInterrupt, match=f"worker {failing}"):
        at_once(compute, 100, 2)
    assert (sorted(begun), len(ended)) == ([0, 1], 1)
    assert torch.get_num_threads() == 4


def test_workers_may_compute_parts_of_their_own_part_at_once() -> None:
    done: list[tuple[int, int]] = []
    both_there = threading.Barrier(2, timeout=30)

    def compute(worker: int, part: int) -> None:
        both_there.wait()  # no thread is free for what either begins now
        at_once(lambda worker, inner: done.append((part, inner)), 3, 2)

    at_once(compute, 2, 2)
    assert sorted(done) == [(part, inner) for part in range(2) for inner in range(3)]
    assert torch.get_num_threads() == 4


def test_one_worker_takes_all_threads_and_no_parts_are_none() -> None:
    threads: list[int] = []
    at_once(lambda worker, part: threads.append(torch.get_num_threads()), 3, 1)
    at_once(lambda worker, part: threads.append(0), 0, 1)
    assert threads == [4, 4, 4]


def test_much_work_is_computed_by_as_many_as_there_are_threads_and_little_by_one() -> None:
    assert workers_for(2 * WORTH_THREADS - 1, CPU) == 1
    assert workers_for(2 * WORTH_THREADS, CPU) == 2
    assert workers_for(100 * WORTH_THREADS, CPU) == 4
    assert workers_for(100 * WORTH_THREADS, torch.device("cuda")) == 1
    torch.set_num_threads(1)
    assert workers_for(100 * WORTH_THREADS, CPU) == 1
    torch.set_num_threads(4 * MOST_WORKERS)
    assert workers_for(100 * WORTH_THREADS, CPU) == MOST_WORKERS
