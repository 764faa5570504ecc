"""Pages in a browser: the commands ``serve``, which follows a study while it runs, and ``dashboard``."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from mdaf.errors import StoppedError, UserError
from mdaf.extras import install
from mdaf.sweeper.storage.database_errors import reason_of
from mdaf.sweeper.storage.opening import masked, masked_text, open_for_pages
from mdaf.sweeper.study.commands.options import DEFAULT_STORAGE, StorageUrl, StudyName
from mdaf.sweeper.study.commands.output import note, say
from mdaf.sweeper.study.queries import QueryError
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


def dashboard(
    host: Annotated[str, typer.Option("--host", help="Where it listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Where it listens.")] = 8080,
    storage: StorageUrl = DEFAULT_STORAGE,
) -> None:
    """Starts optuna-dashboard on the storage, until Ctrl-C. Its pages can rename and delete studies."""
    try:
        from optuna_dashboard import run_server
    except ImportError:
        raise QueryError(
            f"the dashboard needs optuna-dashboard, which isn't installed: {install('dashboard')}"
        ) from None
    opened = open_for_pages(storage)
    note(f"{masked(storage)} is shown at http://{host}:{port}/dashboard, until Ctrl-C")
    try:
        run_server(opened, host=host, port=port)
    except OSError as error:
        raise QueryError(f"can't listen on {host}:{port}: {error.strerror}; --port takes another") from None
    except KeyboardInterrupt:
        return
