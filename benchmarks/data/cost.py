"""What a command costs: time, processor time, memory."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PAUSE = 0.05  # seconds between two looks at a process's memory
_KINDS = ("VmHWM", "RssAnon", "RssFile")


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock and of the processor, and peak memory in bytes.

    ``peak``    pages of the process in memory at once, of whatever kind.
    ``own``     those that it has made itself.
    ``mapped``  those of files that it has mapped, which the system may drop whenever it needs the room.
    All are looked at now and then, and the last two only where the system tells them; else they are None.
    """

    seconds: float
    processor: float
    peak: int
    own: int | None
    mapped: int | None


def cost_of(command: Sequence[str]) -> Cost:
    """Runs a command, its output thrown away; SystemExit if it fails."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    highest: dict[str, int] = {}
    ended, status, usage = os.wait4(process.pid, os.WNOHANG)
    while not ended:
        for kind, size in _resident(process.pid).items():
            highest[kind] = max(size, highest.get(kind, 0))
        time.sleep(_PAUSE)
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return Cost(
        seconds=time.perf_counter() - begun,
        processor=usage.ru_utime + usage.ru_stime,
        # What waiting tells is no less than what this process took when it started the other.
        peak=highest.get("VmHWM", usage.ru_maxrss * 1024),
        own=highest.get("RssAnon"),
        mapped=highest.get("RssFile"),
    )


def _resident(process: int) -> dict[str, int]:
    """Bytes of each kind of page; nothing where the system keeps no such file, or the process is over."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return {}
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return {kind: int(fields[kind].split()[0]) * 1024 for kind in _KINDS if kind in fields}
