"""Measures memory, load and clocks of the machine, for the log."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from pathlib import Path
from typing import Any

import torch


def resident_mb() -> float:
    """Resident memory of this process in MB; its peak where the system does not tell the current value."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return peak_resident_bytes() / 1e6


def peak_resident_bytes() -> int:
    """The peak of this process's resident memory, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def situation(device: torch.device) -> dict[str, Any]:
    """Memory, load and clocks; values that the machine does not tell are left out."""
    known: dict[str, Any] = {"device": str(device), "resident_mb": round(resident_mb())}
    with contextlib.suppress(OSError, AttributeError):
        known["load"] = round(os.getloadavg()[0], 2)
        known["cores"] = os.cpu_count()
    with contextlib.suppress(OSError, ValueError):
        known["cpu_mhz"] = round(_cpu_mhz())
    if device.type == "cuda":
        known["device_mb"] = round(torch.cuda.memory_allocated(device) / 1e6)
        known["device_cached_mb"] = round(torch.cuda.memory_reserved(device) / 1e6)
        for name, ask in (("gpu_mhz", torch.cuda.clock_rate), ("gpu_celsius", torch.cuda.temperature)):
            with contextlib.suppress(Exception):  # needs pynvml and a driver that supports the query
                known[name] = ask(device)
    if device.type == "mps":
        known["device_mb"] = round(torch.mps.driver_allocated_memory() / 1e6)
    return known


def _cpu_mhz() -> float:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    clocks = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
    if not clocks:
        raise ValueError("no clocks")
    return sum(clocks) / len(clocks)
