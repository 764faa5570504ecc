"""``mdaf-study serve``: a page that follows a study while it runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from mdaf.errors import StoppedError, UserError
from mdaf.sweeper.storage.database_errors import reason_of
from mdaf.sweeper.storage.opening import masked, masked_text
from mdaf.sweeper.study.options import DEFAULT_STORAGE, StorageUrl, StudyName
from mdaf.sweeper.study.output import say
from mdaf.terminal.printable import in_a_line


def serve(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, metavar="N", help="Default: a free one.")] = 0,
    storage: StorageUrl = DEFAULT_STORAGE,
    study: StudyName = None,
) -> None:
    """A page that follows a study in a browser.

    Points, learning curves, seeds and posterior, refreshed every few seconds. It is served to this machine alone and
    changes nothing. Ctrl-C ends it.
    """
    from mdaf.sweeper.study.serving.content import snapshot
    from mdaf.sweeper.study.serving.server import HOST, LivePage

    snapshot(storage, study)  # what was typed wrong is said here and not on the page

    def read(name: str | None) -> dict[str, Any]:
        try:
            return snapshot(storage, study if name is None else name)
        except (UserError, StoppedError) as error:
            return {"away": in_a_line(masked_text(str(error)))}
        except (StorageInternalError, SQLAlchemyError) as error:
            return {"away": f"the database does not answer: {in_a_line(masked_text(reason_of(error)))}"}
        except Exception as error:  # a study that is deleted meanwhile, or that another program has filled
            return {"away": f"the study cannot be read ({type(error).__name__})"}

    try:
        server = LivePage(port, read)
    except OSError as error:
        raise UserError(f"--port {port}: {HOST} gives no such port ({error.strerror}); leave it out") from None
    say(f"{server.url} follows {masked(storage)}; Ctrl-C ends it")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        say("the page is closed")
        raise typer.Exit(0) from None
    finally:
        server.server_close()
