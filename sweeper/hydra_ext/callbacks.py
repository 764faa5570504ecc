"""Hydra callbacks: they refuse a bad config before any folder is created, and hide passwords.

``conf/hydra/callbacks`` and ``conf/config.yaml`` name them.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mdaf.hydra_internals import BASIC_SWEEPER
from mdaf.messages import alerts
from mdaf.messages.reporting import reported_in_one_line
from mdaf.messages.secrets import masked_value
from mdaf.naming.config_keys import check_keys
from mdaf.sweeper.hydra_ext.grid import check_jobs, folders_of
from mdaf.sweeper.hydra_ext.overrides import parsed, typed_in
from mdaf.sweeper.hydra_ext.run_config import validate
from mdaf.sweeper.runs.lock import check_free
from mdaf.sweeper.runs.reader import check_unfinished


class Refusal(Callback):
    """Checks the config of a command. If it cannot be run, prints one line and ends the process.

    It ends the process, because Hydra turns an exception of a callback into a warning. Each run checks its config
    again.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        job = OmegaConf.masked_copy(config, [str(name) for name in config if name != "hydra"])
        with reported_in_one_line():
            check_keys(config)
            with suppress(OmegaConfBaseException):  # an interpolation that can be resolved only within the run
                validate(job)
                if config.resume == "never" and not _names_new_folder(config.hydra.run, "dir"):
                    check_free(Path(str(config.hydra.run.dir)))
                    check_unfinished(Path(str(config.hydra.run.dir)))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        with reported_in_one_line():
            swept = [override for override in _typed_overrides(config) if override.is_sweep_override()]
            groups = {o.key_or_group for o in swept if o.key_or_group in config.hydra.runtime.choices}
            keys = [o.key_or_group for o in swept if o.is_add() or o.is_force_add()]
            check_keys(config, swept=keys, without=groups)  # this config lacks the swept options
            check_jobs(config)
            with suppress(OmegaConfBaseException):
                if config.resume == "never" and not _names_new_folder(config.hydra.sweep, "dir"):
                    for folder in folders_of(config):
                        check_free(folder)
                        check_unfinished(folder)


class WhomToTell(Callback):
    """Takes from the command's own config whom it tells of its end, and of what."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        alerts.use(alerts.Alerts.of(OmegaConf.select(config, "alert"), "mdaf"))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        found = alerts.Alerts.of(OmegaConf.select(config, "alert"), "mdaf")
        if config.hydra.sweeper._target_ == BASIC_SWEEPER:  # of a grid's runs none is the best of a search
            found.on = [event for event in found.on if event != alerts.NEW_BEST]
        alerts.use(found)


class MaskedOverrides(Callback):
    """Hides passwords in a job's overrides, because Hydra prints the overrides of a failed job."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        job_return.overrides = [masked_value(override) for override in job_return.overrides or ()]


def _typed_overrides(config: DictConfig) -> list[Override]:
    return [parsed(text) for part in typed_in(config) for text in part]


def _names_new_folder(node: DictConfig, name: str) -> bool:
    """Whether a folder's name is ``${newest:...}``. Resolving it would create a new folder."""
    return "${newest:" in str(OmegaConf.to_container(node, resolve=False)[name])  # type: ignore[index,call-overload]
