"""``python -m sweeper [overrides]``: one run, or with ``-m`` many."""

from __future__ import annotations

import importlib
import sys
from contextlib import nullcontext

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from mdaf import conf, hydra_internals, logs, names
from mdaf.allowed import allowed
from mdaf.children import follow_parent, import_alike
from mdaf.conf import schema
from mdaf.extras import require
from mdaf.reporting import reported_in_one_line
from mdaf.sweeper import command_line
from mdaf.sweeper.hydra_ext import run_dirs
from mdaf.sweeper.hydra_ext.imports import imported_to_stay
from mdaf.sweeper.hydra_ext.overrides import unquoted
from mdaf.sweeper.hydra_ext.targets import CALLBACKS, explained
from mdaf.sweeper.search import cluster
from mdaf.terminal import output
from mdaf.terminal.programs import program

#: First words that are commands of their own, and the module whose ``main`` runs each with the words after it.
COMMANDS = {
    "check": "mdaf.sweeper.check.__main__",
    "export": "mdaf.sweeper.export.cli",
    "predict": "mdaf.sweeper.predict.cli",
}


def prepare() -> None:
    """What every process needs that runs jobs: this one, and those of a launcher, which import it so."""
    output.make_safe()
    logs.set_up()
    follow_parent()
    run_dirs.register()
    names.register()
    cluster.register()


@hydra_internals.main("pkg://mdaf.conf", "config", CALLBACKS)
def job(cfg: DictConfig) -> float | tuple[float, ...]:
    """The task that Hydra runs for each job. A launcher may train several of its jobs together."""
    prepare()
    with imported_to_stay():
        from mdaf.sweeper.job.run import run

    # A job of a sweep fails for itself; a run of its own ends here, before Hydra adds lines of its own.
    alone = HydraConfig.get().mode is not RunMode.MULTIRUN
    with reported_in_one_line() if alone else nullcontext():
        return run(cfg)


def main() -> None:
    """Console script ``mdaf``."""
    if sys.argv[1:2] and sys.argv[1] in COMMANDS:
        if code := importlib.import_module(COMMANDS[sys.argv.pop(1)]).main():
            sys.exit(code)
        return
    import_alike()
    with reported_in_one_line():
        require("ctr", program())
    conf.register()
    prepare()
    sys.argv[1:] = unquoted(sys.argv[1:])
    with reported_in_one_line():
        command_line.check(sys.argv[1:], schema.Config, commands=tuple(COMMANDS))
        with explained(), hydra_internals.allowing(allowed()):
            job()


if __name__ == "__main__":
    main()
