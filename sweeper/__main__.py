"""``python -m sweeper [overrides]``: one run, or with ``-m`` many."""

from __future__ import annotations

import sys
from contextlib import nullcontext

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

import conf
from conf import schema
from data import output
from sweeper import cluster, command_line, logs, names, newest
from sweeper.children import follow_parent, import_alike
from sweeper.errors import reported_in_one_line
from sweeper.grammar import unquoted
from sweeper.imports import imported_to_stay
from sweeper.named import CALLBACKS


def prepare() -> None:
    """What every process needs that runs jobs: this one, and those of a launcher, which import it so."""
    output.make_safe()
    logs.set_up()
    follow_parent()
    newest.register()
    names.register()
    cluster.register()


@hydra.main(config_path="pkg://conf", config_name="config", execution_whitelist=CALLBACKS)
def job(cfg: DictConfig) -> float | tuple[float, ...]:
    """The task that Hydra runs for each job. A launcher may train several of its jobs together."""
    prepare()
    with imported_to_stay():
        from sweeper.objective import run  # torch takes seconds to import; --help and --cfg do not need it

    # A job of a sweep fails for itself; a run of its own ends here, before Hydra adds lines of its own.
    alone = HydraConfig.get().mode is not RunMode.MULTIRUN
    with reported_in_one_line() if alone else nullcontext():
        return run(cfg)


def main() -> None:
    """Console script ``mdaf``."""
    import_alike()
    conf.register()
    prepare()
    sys.argv[1:] = unquoted(sys.argv[1:])
    with reported_in_one_line():
        command_line.check(sys.argv[1:], schema.Config)
        job()


if __name__ == "__main__":
    main()
