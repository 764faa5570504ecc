"""What the system says of this machine's processor. Other files ask here instead of reading /proc/cpuinfo."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Processor(NamedTuple):
    """``vendor`` and ``flags`` are the kernel's words, as ``AuthenticAMD`` and ``avx512f``; empty where unknown."""

    model: str
    vendor: str
    flags: frozenset[str]


@cache
def processor() -> Processor:
    """The processor of this machine."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return Processor(platform.processor() or platform.machine(), "", frozenset())
    fields = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    known = {key.strip(): value.strip() for key, value in fields.items()}
    flags = known.get("flags", known.get("Features", "")).split()
    return Processor(known.get("model name", platform.machine()), known.get("vendor_id", ""), frozenset(flags))
