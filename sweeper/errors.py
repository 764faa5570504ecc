"""What a user did wrong, said in one line."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from data.errors import DataError
from sweeper.interruption import EXIT_RESUMABLE, Interrupted

EXIT_USER_ERROR = 2

log = logging.getLogger(__name__)

# Hydra's own switch for tracebacks, as the user set it.
TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")


class UserError(ValueError):
    """Bad input: which key or file, what was found, what was expected, what to do. One line."""


def one_line(error: BaseException) -> str:
    """The message of ``error`` on a single line, with the cause where Hydra hides the reason in it."""
    parts = [str(error)]
    if isinstance(error, HydraException) and error.__cause__ is not None:
        parts.append(str(error.__cause__))
    lines = [line.strip() for part in parts for line in part.split("Config search path:")[0].splitlines()]
    kept = [line for line in lines if line and not re.match(r"(reference_type|object_type|full_key)\b", line)]
    keys = [line.split(":", 1)[1].strip() for line in lines if line.startswith("full_key:")]
    text = "; ".join(dict.fromkeys(kept)).replace(":; ", ": ") or type(error).__name__
    return f"{keys[0]}: {text}" if keys and keys[0] not in text else text


class StoppedError(RuntimeError):
    """What ends a run that was set up rightly, said in one line; ``exit_code`` is the process's."""

    exit_code = 1


@contextmanager
def reported_in_one_line() -> Iterator[None]:
    """Turns a user's mistake into one line on standard error and exit code 2; other errors pass through.

    With HYDRA_FULL_ERROR=1 everything passes through, traceback and all.
    """
    try:
        with _hydra_raises():
            yield
    except (ValueError, HydraException, OmegaConfBaseException) as error:
        if TRACEBACKS or not is_user_error(error):
            raise
        log.debug("refused", exc_info=True)
        print(f"error: {one_line(error)}", file=sys.stderr)
        raise SystemExit(EXIT_USER_ERROR) from None
    except StoppedError as error:
        if TRACEBACKS:
            raise
        print(f"error: {one_line(error)}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except Interrupted:
        print("interrupted; the state is saved: the same command with resume=auto goes on", file=sys.stderr)
        raise SystemExit(EXIT_RESUMABLE) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None


@contextmanager
def _hydra_raises() -> Iterator[None]:
    """Hydra prints several lines and ends the process itself unless this variable asks it for the exception."""
    asked = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        if asked is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = asked


def is_user_error(error: BaseException) -> bool:
    """Whether the message alone tells a user what to mend."""
    return isinstance(error, UserError | DataError | HydraException | OmegaConfBaseException)
