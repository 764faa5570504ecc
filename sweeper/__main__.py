"""``python -m sweeper [overrides]``: one run, or with ``-m`` many. A first word may be a command of its own."""

from __future__ import annotations

import importlib
import sys

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from mdaf import conf, hydra_internals
from mdaf.conf import schema
from mdaf.errors import UserError, did_you_mean
from mdaf.extras import require
from mdaf.hardware import cores
from mdaf.messages import alerts, logs, outcome
from mdaf.messages.reporting import in_one_line, reported_in_one_line
from mdaf.naming import studies
from mdaf.naming.allowed import allowed
from mdaf.processes.children import follow_parent, import_alike
from mdaf.sweeper import command_line
from mdaf.sweeper.hydra_ext import run_dirs
from mdaf.sweeper.hydra_ext.imports import end_quickly, imported_to_stay
from mdaf.sweeper.hydra_ext.overrides import unquoted
from mdaf.sweeper.hydra_ext.targets import CALLBACKS, explained
from mdaf.sweeper.search.running import cluster, workers
from mdaf.terminal import output
from mdaf.terminal.programs import SCRIPTS, WORDS, answer_version, program, started, taken_as_word

# Words after ``mdaf`` for somebody who has not used it yet, with what they do.
STARTS = {
    "data=synthetic_tiny experiment=small": "trains one small model, in seconds",
    "-m hydra/sweeper=regularization experiment=main_job": "searches its regularization, in minutes",
    "--help": "lists all groups and keys",
}


def prepare() -> None:
    """What every process needs that runs jobs: this one, and those of a launcher, which import it so."""
    cores.take()
    output.make_safe()
    logs.set_up()
    follow_parent()
    run_dirs.register()
    studies.register()
    cluster.register()


@hydra_internals.main("pkg://mdaf.conf", "config", CALLBACKS)
def job(cfg: DictConfig) -> float | tuple[float, ...]:
    """The task that Hydra runs for each job. A launcher may train several of its jobs together."""
    prepare()
    with imported_to_stay():
        from mdaf.sweeper.job.run import run

    # A job of a sweep fails for itself; a run of its own ends here, before Hydra adds lines of its own.
    alone = HydraConfig.get().mode is not RunMode.MULTIRUN
    if not alone:
        return run(cfg)
    with reported_in_one_line():
        outcome.note(folder=HydraConfig.get().runtime.output_dir)
        value = run(cfg)
        outcome.note(value=value)
    return value


def main() -> None:
    """Console script ``mdaf``."""
    if sys.argv[1:2] and sys.argv[1] in WORDS:
        with taken_as_word() as word:
            if code := importlib.import_module(WORDS[word].module).main():
                sys.exit(code)
        return
    answer_version()
    import_alike()
    with reported_in_one_line():
        _require_models()
    if sys.argv[1:] == [] and started() == SCRIPTS["sweeper"]:  # a module of Python runs the default
        print(overview(), file=sys.stderr)
        sys.exit(2)
    conf.register()
    prepare()
    end_quickly()
    sys.argv[1:] = unquoted(sys.argv[1:])
    with reported_in_one_line():
        command_line.check(sys.argv[1:], schema.Config, commands=tuple(WORDS))
        ending = alerts.at_the_end(in_one_line, of_a_worker=workers.is_worker())
        with explained(), hydra_internals.allowing(allowed()), ending:
            job()


def overview() -> str:
    """What is printed for ``mdaf`` alone: lines to begin with, and the words that are commands."""
    lines = (f"  {program()} {words:54} {task}" for words, task in STARTS.items())
    words = (f"  {program()} {word:11} {command.task}" for word, command in WORDS.items())
    return "\n".join(["Say what to run:", "", *lines, "", "Or which command:", "", *words])


def _require_models() -> None:
    """UserError where this program's own models are not installed: it names the words that work without them."""
    light = {word: command.task for word, command in WORDS.items() if command.extra is None}
    try:
        require("ctr", program())
    except UserError as error:
        if {"--help", "-h"}.isdisjoint(sys.argv[1:]):
            first = "".join(sys.argv[1:2])
            if meant := did_you_mean(first, WORDS, f"{program()} "):
                raise UserError(f"{first!r} is not understood{meant}") from None
            raise UserError(
                f"{error}; without it there are {', '.join(f'{program()} {word}' for word in light)}"
            ) from None
        works = "".join(f"\n  {program()} {word:11} {task}" for word, task in light.items())
        print(f"{error}\n\nWithout it:{works}")
        raise SystemExit(0) from None


if __name__ == "__main__":
    main()
