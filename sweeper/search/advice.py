"""What a sweep's messages tell the user to type: keys as the program has them, and commands that ask the study."""

from __future__ import annotations

import os
import shlex

from omegaconf import DictConfig

from mdaf.sweeper.hydra_ext.run_config import is_our_schema
from mdaf.sweeper.storage.opening import masked
from mdaf.sweeper.study.options import DEFAULT_STORAGE


def key_for(name: str, config: DictConfig | None) -> str:
    """The key of a setting: ``sweep.timeout`` in this program, ``hydra.sweeper.timeout`` in others."""
    return f"sweep.{name}" if is_our_schema(config) else f"hydra.sweeper.{name}"


def study_command(words: str, study_name: str, storage: str | None) -> str | None:
    """The command that asks ``mdaf-study`` for ``words`` of a study; None for a study in memory, which is gone."""
    if storage is None:
        return None
    asked = os.environ.get("MDAF_STORAGE") or DEFAULT_STORAGE
    elsewhere = "" if storage == asked else f" --storage {shlex.quote(masked(storage))}"
    return f"mdaf-study {words} --study {shlex.quote(study_name)}{elsewhere}"
