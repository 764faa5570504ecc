"""The parts of a run that was stopped and gone on with: which code trained which epochs, on which device.

A part is where it began, ``epoch`` and ``step``, and what trained it from there on: ``commit``, ``device``,
``precision`` and ``versions``. One that goes on alike is no part of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Part = dict[str, Any]

TRAINED_BY = ("commit", "device", "precision", "versions")
UNKNOWN: Part = {"epoch": 1, "step": 0, **dict.fromkeys(TRAINED_BY, "unknown")}  # of a version that did not write it


def part_from(identity: Mapping[str, Any], epoch: int, step: int) -> Part:
    """The part that begins after ``step`` of an epoch, trained by what a run's ``identity`` says."""
    return {"epoch": epoch, "step": step, **{name: identity[name] for name in TRAINED_BY}}


def changes(before: Part, after: Part) -> list[str]:
    """What differs between two parts, in words."""
    return [
        f"{name} {_shown(before[name])}, now {_shown(after[name])}"
        for name in TRAINED_BY
        if before[name] != after[name] and before[name] != "unknown"
    ]


def joined(parts: Sequence[Part], name: str) -> str:
    """All values that a name has in the parts, in their order: ``cuda: H100, then cpu: x86_64``."""
    values = [str(part[name]) for part in parts]
    return ", then ".join(
        value
        for place, value in enumerate(values)
        if not place or value != values[place - 1] or (name == "device" and parts[place].get("fell_back"))
    )


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{package} {version}" for package, version in value.items())
    return str(value) or "none"
