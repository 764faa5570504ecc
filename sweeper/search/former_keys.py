"""Keys that sweepers had before, or that other sweepers have, each with what to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from mdaf.sweeper.hydra_ext.overrides import hydra_value

ELSEWHERE = {"seed": "sampler.seed", "max_batch_size": "n_jobs"}


def instead_of(key: str, value: Any) -> str | None:
    """What to write instead of a key that ``hydra.sweeper`` does not have; None if the key is none of these."""
    if key == "search_space":
        found = "it is a key of hydra-optuna-sweeper 1.1"
        if isinstance(value, Mapping) and (params := _params(value)):
            lines = ", ".join(f"{name}: '{text}'" for name, text in params.items())
            return f"{found}; write hydra.sweeper.params={{{lines}}}"
        return f"{found}; write hydra.sweeper.params={{KEY: 'interval(LOW, HIGH)'}}"
    if key in ELSEWHERE:
        return f"there is no such key; write hydra.sweeper.{ELSEWHERE[key]}={hydra_value(value)}"
    return None


def _params(space: Mapping[str, Any]) -> dict[str, str] | None:
    """A ``search_space`` as ``params``; None if a part of it is not as that version describes it."""
    try:
        return {str(name): _swept(part) for name, part in space.items()}
    except (ArithmeticError, KeyError, TypeError, ValueError):
        return None


def _swept(part: Mapping[str, Any]) -> str:
    """A distribution of that version as an override's value. The greatest value of its ranges is included."""
    if part["type"] == "categorical":
        return f"choice({','.join(hydra_value(choice) for choice in part['choices'])})"
    low, high, whole = part["low"], part["high"], part["type"] == "int"
    if part["type"] not in ("int", "float"):
        raise ValueError(part["type"])
    if part.get("log"):
        interval = f"interval({low},{high})"
        return f"tag(log,{f'int({interval})' if whole else interval})"
    step = part.get("step") or (1 if whole else None)
    if step is None:
        return f"interval({low},{high})"
    end = Decimal(str(high)) + Decimal(str(step))
    return f"range({low},{end},step={step})" if step != 1 or not whole else f"range({low},{end})"
