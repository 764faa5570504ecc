"""``python -m sweeper`` within a process that has imported everything already: this one, or one that can be killed."""

from __future__ import annotations

import copy
import csv
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from omegaconf.basecontainer import BaseContainer

from mdaf.sweeper import __main__ as program
from tests.processes import CONTEXT
from tests.sweeper.tiny import TINY

# Six steps an epoch, and hardly any evaluation.
TINIER = (*TINY, "data.train_rows=600", "data.validation_rows=200", "training.batch_size=100")
STEPS = 6
TIMES = ("epoch_seconds", "batch_ms_p50", "batch_ms_p99")


def run(folder: Path, *overrides: str, tiny: tuple[str, ...] = TINIER) -> int:
    """The command typed in ``folder``; its exit code. What it changes in the process is put back."""
    with _typed(folder, ["mdaf", *tiny, *overrides]):
        try:
            program.main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def start(folder: Path, *overrides: str, sabotage: Callable[[], None] | None = None) -> BaseProcess:
    """The same in a process of its own, which may be killed and writes to ``output.txt``; ``sabotage`` is run first."""
    process = CONTEXT.Process(target=_run_silently, args=(str(folder), overrides, sabotage))
    process.start()
    return process


def _run_silently(folder: str, overrides: tuple[str, ...], sabotage: Callable[[], None] | None) -> None:
    torch.set_num_threads(1)
    if sabotage is not None:
        sabotage()
    with (Path(folder) / "output.txt").open("a") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        sys.exit(run(Path(folder), *overrides))


@contextmanager
def _typed(folder: Path, words: list[str]) -> Iterator[None]:
    Plugins.instance()  # finds all plugins, which register their configs once
    root = logging.getLogger()
    before = (os.getcwd(), sys.argv, list(root.handlers), root.level, sys.excepthook)
    # Not their whole content, which takes longer than a refused command: the config store is only ever added to.
    singletons = {kind: copy.copy(instance) for kind, instance in Singleton._instances.items()}
    resolvers = dict(BaseContainer._resolvers)
    GlobalHydra.instance().clear()
    os.chdir(folder)
    sys.argv = words
    try:
        yield
    finally:
        os.chdir(before[0])
        sys.argv = before[1]
        for handler in set(root.handlers) - set(before[2]):
            with suppress(OSError):  # as at the end of a process
                handler.close()
        root.handlers[:] = before[2]
        root.setLevel(before[3])
        sys.excepthook = before[4]
        Singleton._instances = singletons
        BaseContainer._resolvers = resolvers


def metrics(run_folder: Path) -> list[dict[str, str]]:
    """metrics.csv but for the times."""
    with (run_folder / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name not in TIMES} for row in csv.DictReader(file)]


def weights(run_folder: Path, name: str = "last.pt") -> dict[str, Any]:
    return torch.load(run_folder / name, weights_only=True)["weights"]


def assert_same_run(run_folder: Path, other: Path) -> None:
    """Metrics and weights, bit for bit."""
    assert metrics(run_folder) == metrics(other)
    for name in ("best.pt", "last.pt"):
        ours, theirs = weights(run_folder, name), weights(other, name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[part], theirs[part]) for part in ours)
