"""The profile of a step: what its kernels are counted as."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.profile import REST, Spent, part_of, table
from mdaf import model

SOURCES = [path for path in Path(model.__file__).parent.rglob("*.py") if "triton" in path.name]
LAUNCHED = sorted({name for path in SOURCES for name in re.findall(r"^\s+(_\w+)\[", path.read_text(), re.MULTILINE)})


@pytest.mark.parametrize("kernel", LAUNCHED)
def test_every_kernel_of_this_project_belongs_to_a_part_of_the_step(kernel: str) -> None:
    assert part_of(kernel) != REST


def test_kernels_are_listed_by_their_time_with_the_sum_of_all_below() -> None:
    spent = {"short": Spent(4, 1000.0), "long": Spent(2, 6000.0), "middle": Spent(2, 3000.0)}
    assert table("kernel", spent, steps=2, lines=2)[2:] == [
        "| long | 1.0 | 3.000 |",
        "| middle | 1.0 | 1.500 |",
        "| all | 4.0 | 5.000 |",
    ]
