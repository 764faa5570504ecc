from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.data.cost import cost_of

MEGABYTE = 1_000_000


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_command_that_fills_memory_costs_that_much_more_than_one_that_does_not() -> None:
    pause = "import time; time.sleep(0.5)"
    small, large = cost_of(python(pause)), cost_of(python(f"x = b'x' * {200 * MEGABYTE}; {pause}"))
    assert large.peak - small.peak > 150 * MEGABYTE
    assert large.seconds > 0.5


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell kinds of pages")
def test_pages_of_a_mapped_file_are_told_from_a_process_s_own(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100 * MEGABYTE)
    pause = "import time; time.sleep(0.5)"
    code = f"import mmap; f = open({str(path)!r}); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); sum(m[::4096])"
    plain, mapping = cost_of(python(pause)), cost_of(python(f"{code}; {pause}"))
    assert None not in (plain.mapped, mapping.mapped, plain.own, mapping.own)
    assert mapping.mapped - plain.mapped > 90 * MEGABYTE  # type: ignore[operator]
    assert mapping.own - plain.own < 20 * MEGABYTE  # type: ignore[operator]


def test_a_command_that_fails_ends_the_measurement() -> None:
    with pytest.raises(SystemExit, match="failed"):
        cost_of(python("raise SystemExit(3)"))
