"""Names of classes as version 0.1 wrote them into configs, studies and stores."""

from __future__ import annotations

from typing import Any

PREFIX = "mdaf."
ROOMS = ("data.", "model.")


def current(target: str) -> str:
    """What a class of 0.1 is called now: ``model.din.DIN`` became ``mdaf.model.din.DIN``. Other names stay."""
    return f"{PREFIX}{target}" if target.startswith(ROOMS) else target


def lasting(config: Any) -> Any:
    """A config in plain types with classes named as in 0.1, so that hashes last and configs compare across versions."""
    if isinstance(config, dict):
        return {key: _lasting_name(value) if key == "_target_" else lasting(value) for key, value in config.items()}
    return [lasting(value) for value in config] if isinstance(config, list) else config


def _lasting_name(target: Any) -> Any:
    return target.removeprefix(PREFIX) if isinstance(target, str) else target
