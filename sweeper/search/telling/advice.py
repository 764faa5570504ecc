"""What a sweep's messages tell the user to type: keys as the program has them, and commands that ask the study."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

import optuna
from omegaconf import DictConfig, OmegaConf
from optuna.study import StudyDirection

from mdaf.naming.studies import DEFAULT_STORAGE
from mdaf.sweeper.hydra_ext.configs.sources import Configs
from mdaf.sweeper.hydra_ext.overrides import hydra_value
from mdaf.sweeper.hydra_ext.run_config import is_our_schema
from mdaf.sweeper.runs.metric_columns import MONITOR
from mdaf.sweeper.storage.opening import masked
from mdaf.terminal.programs import command, started


def key_for(name: str, config: DictConfig | None) -> str:
    """The key of a setting: ``sweep.timeout`` in this program, ``hydra.sweeper.timeout`` in others."""
    return f"sweep.{name}" if is_our_schema(config) else f"hydra.sweeper.{name}"


def study_command(words: str, study_name: str, storage: str | None) -> str | None:
    """The command that asks ``mdaf-study`` for ``words`` of a study; None for a study in memory, which is gone."""
    if storage is None:
        return None
    asked = os.environ.get("MDAF_STORAGE") or DEFAULT_STORAGE
    elsewhere = "" if storage == asked else f" --storage {shlex.quote(masked(storage))}"
    return f"{command('sweeper.study')} {words} --study {shlex.quote(study_name)}{elsewhere}"


def what_follows(study: optuna.Study, storage: str | None, config: DictConfig, objectives: Sequence[str]) -> list[str]:
    """What to type after a sweep, each line with what it is for; nothing for a study in memory."""
    best = study_command("best", study.study_name, storage)
    if best is None:
        return []
    lines = [f"next, the best trials and how to run them again: {best}"]
    if (verdict := _verdict_command(study, str(storage), config, objectives)) is not None:
        lines.append(f"next, a verdict on the best over fresh seeds: {verdict}")
    return lines


def _verdict_command(study: optuna.Study, storage: str, config: DictConfig, objectives: Sequence[str]) -> str | None:
    """The command of Phase 4; None for a study that it does not take."""
    ours = is_our_schema(config)
    if len(study.directions) > 1:
        return None
    if ours and (list(objectives) != [MONITOR] or study.direction is not StudyDirection.MAXIMIZE):
        return None
    if not ours and OmegaConf.select(config, "seed") is None:  # the key that seeds a run; only its user knows another
        return None
    words = [f"study={hydra_value(study.study_name)}"]
    if storage != DEFAULT_STORAGE:
        words.append(f"storage={hydra_value(masked(storage))}")
    configs, _ = Configs.taken_from(sys.argv[1:])
    if ours:
        words = [*configs.words(), *words]
    else:
        words.append(f"program={' '.join([started(), *map(shlex.quote, configs.words())])}")
    return f"{command('multirun')} {' '.join(map(shlex.quote, words))}"
