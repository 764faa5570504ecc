"""The parts of a resumed run: which code trained which epochs, and on which device.

A part consists of its first ``epoch`` and ``step``, and of the ``commit``, ``device``, ``precision`` and ``versions``
that trained it. A run that resumes with the same four does not begin a new part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Part = dict[str, Any]

TRAINED_BY = ("commit", "device", "precision", "versions")
UNKNOWN: Part = {
    "epoch": 1,
    "step": 0,
    **dict.fromkeys(TRAINED_BY, "unknown"),
}  # for checkpoints of versions without parts


def part_from(identity: Mapping[str, Any], epoch: int, step: int) -> Part:
    """The part that begins after ``step`` of an epoch, with commit, device, ... from a run's ``identity``."""
    return {"epoch": epoch, "step": step, **{name: identity[name] for name in TRAINED_BY}}


def changes(before: Part, after: Part) -> list[str]:
    """The differences between two parts, as texts."""
    return [
        f"{name} {_shown(before[name])}, now {_shown(after[name])}"
        for name in TRAINED_BY
        if before[name] != after[name] and before[name] != "unknown"
    ]


def joined(parts: Sequence[Part], name: str) -> str:
    """All values of ``name`` in the parts, in order: ``cuda: H100, then cpu: x86_64``."""
    values = [str(part[name]) for part in parts]
    return ", then ".join(
        value
        for index, value in enumerate(values)
        if not index or value != values[index - 1] or (name == "device" and parts[index].get("fell_back"))
    )


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{package} {version}" for package, version in value.items())
    return str(value) or "none"
