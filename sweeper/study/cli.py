"""The study query: asks a study database what was tried and what won. ``python -m sweeper.study``, ``mdaf-study``.

Read-only: nothing is created or changed but the file named by ``--output``, what ``copy``, ``backup`` and ``fetch``
make, and what ``reap --yes`` and ``retry --yes`` say; the pages of ``dashboard`` can change studies too. Answers go to
standard output, remarks and errors to standard error; an error is one line and exit code 2.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import typer
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from mdaf.errors import StoppedError, UserError
from mdaf.messages import logs
from mdaf.processes import signals
from mdaf.sweeper.hydra_ext.imports import end_quickly
from mdaf.sweeper.storage.database_errors import reason_of
from mdaf.sweeper.storage.opening import masked_text
from mdaf.sweeper.storage.retrying import StorageAwayError, briefly
from mdaf.sweeper.study.commands import checked, mended, pages, tried, watched, won, written
from mdaf.sweeper.study.commands.options import other_database
from mdaf.sweeper.study.commands.output import note
from mdaf.sweeper.study.commands.usage import OneLineGroup
from mdaf.terminal import output
from mdaf.terminal.programs import answer_version


class StudyGroup(OneLineGroup):
    """Answers a mistake with one line on standard error and exit code 2, a database that is away with 75."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with signals.listening():
                return super().invoke(ctx)
        except (UserError, StoppedError) as error:
            note(f"mdaf-study: {masked_text(str(error))}{other_database(error)}")
            if isinstance(error, StorageAwayError):  # nothing is wrong with what was typed
                raise typer.Exit(error.exit_code) from None
        except (StorageInternalError, SQLAlchemyError) as error:
            note(f"mdaf-study: the storage failed: {reason_of(error)}")
        raise typer.Exit(2)


app = typer.Typer(
    cls=StudyGroup,
    help="Asks a study database what was tried and what won. Only reap and retry with --yes change a study; copy, "
    "backup and fetch write elsewhere; the pages of dashboard can change anything.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

COMMANDS: dict[str, Callable[..., None]] = {
    "list": tried.list_studies,
    "show": tried.show,
    "best": won.best,
    "trials": tried.trials,
    "importance": tried.importance,
    "compare": checked.compare_runs,
    "verify": checked.verify,
    "plot": written.plot,
    "export": written.export,
    "fetch": written.fetch,
    "copy": written.copy_to,
    "backup": written.backup,
    "serve": pages.serve,
    "watch": watched.watch,
    "reap": mended.reap,
    "retry": mended.retry,
    "dashboard": pages.dashboard,
}
for name, command in COMMANDS.items():
    app.command(name)(command)


def main() -> None:
    """Entry point of ``mdaf-study``, ``mdaf study`` and ``python -m sweeper.study``."""
    answer_version()
    output.make_safe()
    logs.set_up()
    end_quickly()
    gc.set_threshold(200_000, 50, 50)  # an answer is made of millions of objects, hardly any of which is garbage
    with briefly():
        app(prog_name="mdaf-study")
