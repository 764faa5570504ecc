"""How the processes of one command share the cores of a machine."""

from __future__ import annotations

import os

import pytest

from mdaf.hardware import cores


@pytest.fixture(autouse=True)
def bound_to(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """A machine with eight cores, whose user has set nothing; to which of them this process was bound."""
    bindings: list[set[int]] = [set(range(8))]
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: bindings[-1], raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, to: bindings.append(set(to)), raising=False)
    for name in (*cores.THREADS, cores.GIVEN):
        monkeypatch.delenv(name, raising=False)
    return bindings


def test_processes_have_even_parts_that_together_are_all_cores() -> None:
    assert [cores.part_of(number, 3) for number in range(3)] == [[0, 1], [2, 3, 4], [5, 6, 7]]
    assert [cores.part_of(number, 10) for number in (0, 7, 8)] == [[0], [7], [0]]


def test_a_process_with_a_gpu_is_bound_to_its_part_and_shares_that_with_its_own_processes(
    monkeypatch: pytest.MonkeyPatch, bound_to: list[set[int]]
) -> None:
    [(name, value)] = cores.environment_of(2, number=1).items()
    monkeypatch.setenv(name, value)
    cores.take()
    assert bound_to[-1] == {4, 5, 6, 7}
    assert cores.environment_of(2, number=0) == {name: "4,5"}
    cores.take()  # it is given once
    assert len(bound_to) == 2


def test_other_processes_take_their_part_of_the_threads() -> None:
    assert cores.environment_of(3) == dict.fromkeys(cores.THREADS, "2")
    assert cores.environment_of(30) == dict.fromkeys(cores.THREADS, "1")


def test_threads_that_the_user_has_set_stay_and_bind_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    for number in (None, 1):
        assert cores.environment_of(2, number) == dict.fromkeys(cores.THREADS, "5")


def test_a_process_that_is_bound_for_a_while_has_all_its_cores_again(bound_to: list[set[int]]) -> None:
    with cores.bound([2, 3]):
        assert cores.usable() == [2, 3]
    assert cores.usable() == list(range(8))
    with cores.bound(()):
        assert cores.usable() == list(range(8))


def test_a_core_that_is_not_there_any_more_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no such core")

    monkeypatch.setattr(os, "sched_setaffinity", refuse, raising=False)
    monkeypatch.setenv(cores.GIVEN, "900")
    cores.take()
    assert cores.usable() == list(range(8))
