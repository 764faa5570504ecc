"""What Hydra calls before it makes a run's folder: a config that cannot be run leaves nothing behind."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sweeper.config import validate
from sweeper.errors import reported_in_one_line


class Refusal(Callback):
    """Says in one line what a run's config lacks, and ends the process; the run itself checks again."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        job = OmegaConf.masked_copy(config, [str(name) for name in config if name != "hydra"])
        # Hydra turns what a callback raises into a warning, but not the end of the process.
        with reported_in_one_line(), suppress(OmegaConfBaseException):  # within the run more can be resolved
            validate(job)
