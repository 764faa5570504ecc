"""What Hydra calls when a multirun is over."""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from mdaf.hydra_internals import BASIC_SWEEPER
from mdaf.terminal.counting import Runs
from mdaf.terminal.programs import command

_block = ExitStack()  # no part of the callback, which launchers send to other processes
PROCESS_A_JOB = ("joblib", "ray", "submitit_local", "submitit_slurm")  # launchers whose jobs print by themselves


class RunTable(Callback):
    """Prints the table of a grid of runs, such as ``-m seed=42,123,456,789,2024``; an Optuna sweep has its study.

    Before the first of them it says how many there will be, so that the time of the whole can be estimated.
    """

    def __init__(self) -> None:
        self._begun = False  # what is refused has no runs, and the name of its folder would make it

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        if config.hydra.sweeper._target_ == BASIC_SWEEPER:
            from mdaf.sweeper.hydra_ext.eta import Plan, expect
            from mdaf.sweeper.hydra_ext.grid import jobs_of

            self._begun, jobs = True, len(jobs_of(config))
            expect(Plan(jobs))
            _block.enter_context(_runs_of(config, jobs))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if not self._begun:
            return
        _block.close()
        from mdaf.multirun.launching.table import collect, show

        folder = Path(config.hydra.sweep.dir)
        # A folder that could not be made is what the command itself says.
        runs = collect(sorted((path for path in folder.glob("*") if path.is_dir()), key=_number))
        if runs:
            show(runs, title=str(folder))
            summarize = f"{command('multirun')} summarize {shlex.quote(str(folder))}"
            print(f"next, how sure these means are: {summarize}")


def _runs_of(config: DictConfig, jobs: int) -> Runs:
    """The block with the status of a grid."""
    folder = Path(config.hydra.sweep.dir)
    elsewhere = config.hydra.runtime.choices.get("hydra/launcher") in PROCESS_A_JOB
    return Runs(("grid", str(folder)), lambda: _ended_in(folder), jobs, jobs, others=elsewhere)


def _ended_in(folder: Path) -> int:
    return sum(1 for _ in folder.rglob("result.json"))


def _number(path: Path) -> tuple[int, str]:
    return (int(path.name), "") if path.name.isdigit() else (2**31, path.name)
