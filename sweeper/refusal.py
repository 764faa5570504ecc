"""What Hydra calls before it makes a folder: a config that cannot be run leaves nothing behind."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from data.keys import check_keys
from sweeper.config import validate
from sweeper.errors import reported_in_one_line
from sweeper.grammar import parsed


class Refusal(Callback):
    """Says in one line what a config lacks, and ends the process; each run checks its own again.

    Hydra turns what a callback raises into a warning, but not the end of the process.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        job = OmegaConf.masked_copy(config, [str(name) for name in config if name != "hydra"])
        with reported_in_one_line():
            check_keys(config)
            with suppress(OmegaConfBaseException):  # within the run more can be resolved
                validate(job)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        with reported_in_one_line():
            swept = [override for override in _typed(config) if override.is_sweep_override()]
            groups = {o.key_or_group for o in swept if o.key_or_group in config.hydra.runtime.choices}
            keys = [o.key_or_group for o in swept if o.is_add() or o.is_force_add()]
            check_keys(config, swept=keys, without=groups)  # Hydra composed it without what is swept


def _typed(config: DictConfig) -> list[Override]:
    overrides: Any = OmegaConf.to_container(config.hydra.overrides)  # as typed, with what is interpolated
    return [parsed(text) for text in (*overrides["hydra"], *overrides["task"])]
