"""``mdaf check model=NAME data=NAME``: tries a model on a few samples, and says what is wrong. It trains nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from omegaconf import DictConfig

from mdaf import conf
from mdaf.conf import schema
from mdaf.extras import require
from mdaf.messages import logs
from mdaf.messages.reporting import reported_in_one_line
from mdaf.naming import studies
from mdaf.processes.children import import_alike
from mdaf.sweeper import command_line
from mdaf.sweeper.hydra_ext import run_dirs
from mdaf.sweeper.hydra_ext.configs.sources import Configs
from mdaf.sweeper.hydra_ext.overrides import unquoted
from mdaf.terminal import output
from mdaf.terminal.programs import answer_version, command

HELP = """\
{check} [--config-dir FOLDER] model=NAME data=NAME [KEY=VALUE ...]

Prepares the data unless that is done, builds the model, and tries it on a few training samples: forward and backward,
alone and three in lock-step, with unusual samples, from a checkpoint. Prints a table of what is right and wrong, and
how to mend it. Trains nothing. Exit code 1: something is wrong; 2: it could not be tried.
"""


def main() -> None:
    """The command, with the words after ``mdaf check``."""
    answer_version()
    import_alike()
    output.make_safe()
    words = unquoted(sys.argv[1:])
    if not {"--help", "-h"}.isdisjoint(words):
        print(HELP.format(check=f"{command('sweeper')} check"), end="")
        return
    with reported_in_one_line():
        require("ctr", "check")
        wrong = _checked(words)
    sys.exit(1 if wrong else 0)


def _checked(words: Sequence[str]) -> int:
    """Prints the table; the number of checks that failed."""
    from mdaf.sweeper.check.checks import findings
    from mdaf.sweeper.check.table import show

    logs.set_up()
    found = findings(composed(words), words)
    show(found)
    return sum(finding.is_wrong for finding in found)


def composed(words: Sequence[str]) -> DictConfig:
    """The config of a run with these words. Raises UserError for words, keys and values that it cannot have."""
    from mdaf.naming.config_keys import check_keys
    from mdaf.sweeper.hydra_ext.run_config import validate

    conf.register()
    run_dirs.register()
    studies.register()
    command_line.check(words, schema.Config, sweeps=False)
    configs, overrides = Configs.taken_from(words)
    config = configs.compose(overrides)
    check_keys(config)
    validate(config)
    return config


if __name__ == "__main__":
    main()
