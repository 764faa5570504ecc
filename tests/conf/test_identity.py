"""Which keys of the config are a part of what a run is: every one, but for those that are listed with a reason."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from mdaf.sweeper.hydra_ext.run_config import HASHED_UNLESS, NOT_HASHED, config_hash, hash_of, is_hashed
from tests.sweeper.tiny import composed

CONF = Path(__file__).parents[2] / "conf"


def options(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml") if not file.stem.startswith("_"))


def leaves(node: Any, prefix: str = "") -> Iterator[str]:
    """The dotted keys of all values; a list and an empty mapping are values."""
    for name, value in node.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def with_another(plain: dict[str, Any], key: str) -> str:
    """The hash of the config with another value of a key."""
    changed = copy.deepcopy(plain)
    *path, name = key.split(".")
    node = changed
    for part in path:
        node = node[part]
    node[name] = "another value"
    return hash_of(changed)


@pytest.mark.parametrize(
    "typed",
    [[f"data={name}"] for name in options("data")] + [[f"model={name}"] for name in options("model")],
    ids=lambda typed: typed[0],
)
def test_whatever_may_change_a_result_changes_the_config_hash(typed: list[str]) -> None:
    plain: Any = OmegaConf.to_container(composed(*typed, tiny=()), resolve=True)
    keys = list(leaves(plain))
    assert len(keys) > 40
    base = hash_of(plain)
    wrong = [key for key in keys if (with_another(plain, key) != base) != is_hashed(key)]
    assert wrong == []


def test_every_key_that_changes_no_result_is_in_the_schema_and_has_its_reason() -> None:
    found: set[str] = set()
    for name in ("user_behavior", "event_log"):
        plain: Any = OmegaConf.to_container(composed(f"data={name}", tiny=()), resolve=True)
        found |= {key[: len(part)] for key in leaves(plain) for part in NOT_HASHED if f"{key}.".startswith(f"{part}.")}
    assert found == set(NOT_HASHED)
    assert all(len(reason) > 10 or reason == "the same" for reason in NOT_HASHED.values())


def test_a_run_at_the_default_precision_keeps_the_hash_that_it_had_before_precision_was_hashed() -> None:
    config = composed()
    without = copy.deepcopy(config)
    OmegaConf.set_struct(without, False)
    del without["device"]
    assert config_hash(config) == config_hash(without)
    assert HASHED_UNLESS["device.precision"] == "fp32"
    assert len({config_hash(composed(f"device.precision={name}")) for name in ("fp32", "tf32", "bf16")}) == 3
