"""What Hydra calls when a multirun is over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from mdaf.hydra_internals import BASIC_SWEEPER, jobs_of_grid


class RunTable(Callback):
    """Prints the table of a grid of runs, such as ``-m seed=42,123,456,789,2024``; an Optuna sweep has its study.

    Before the first of them it says how many there will be, so that the time of the whole can be estimated.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        if config.hydra.sweeper._target_ == BASIC_SWEEPER:
            from mdaf.sweeper.hydra_ext.eta import Plan, expect
            from mdaf.sweeper.hydra_ext.overrides import typed_in

            parsed = OverridesParser.create().parse_overrides(typed_in(config)[1])
            expect(Plan(len(jobs_of_grid(parsed))))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if config.hydra.sweeper._target_ != BASIC_SWEEPER:
            return
        from mdaf.multirun.launching.table import collect, show

        folder = Path(config.hydra.sweep.dir)
        # A folder that could not be made is what the command itself says.
        runs = collect(sorted((path for path in folder.glob("*") if path.is_dir()), key=_number))
        if runs:
            show(runs, title=str(folder))


def _number(path: Path) -> tuple[int, str]:
    return (int(path.name), "") if path.name.isdigit() else (2**31, path.name)
