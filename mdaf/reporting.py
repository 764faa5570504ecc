"""What a user did wrong, said in one line."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from mdaf import signals
from mdaf.children import is_spoken_for
from mdaf.config_keys import refused_key
from mdaf.errors import DataError, StoppedError, UserError
from mdaf.errors import one_line as said_in_one_line
from mdaf.extras import install
from mdaf.interruption import environment, how_to_go_on, is_typed
from mdaf.logs import keep_traceback
from mdaf.secrets import masked_text
from mdaf.terminal.printable import in_a_line

EXIT_USER_ERROR = 2

SAID_BY_THE_SYSTEM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)
_COMPOSING = ("hydra", "omegaconf")
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "alloc_failed", "outofmemoryerror")

# Hydra's own switch for tracebacks, as the user set it: a process that one of ours started finds it as that one did.
OWN_SWITCH = "MDAF_HYDRA_RAISES"
TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0") and OWN_SWITCH not in os.environ


def one_line(error: BaseException) -> str:
    """The message of ``error`` on a single line, with the cause where Hydra hides the reason in it."""
    if refused := refused_key(error, sys.argv[1:]):
        return refused
    if missing := re.match(r"Unknown plugin class : '(?:hydra_plugins\.hydra_(\w+?)_launcher)\b", str(error)):
        name, extra = missing[1], {"submitit": "slurm"}.get(missing[1], missing[1])
        return f"hydra/launcher: hydra-{name}-launcher is not installed; {install(extra)}"
    return said_in_one_line(error)


@contextmanager
def reported_in_one_line() -> Iterator[None]:
    """Turns what a user can mend into one line on standard error and an exit code; other errors pass through.

    The traceback of either is kept in the run's log. A signal ends it in one line, too.

    With HYDRA_FULL_ERROR=1 everything passes through, traceback and all.
    """
    try:
        with signals.listening(), _hydra_raises():
            yield
    except signals.Interrupted as error:
        _say_the_end(f"interrupted {error}; what is done is saved: {how_to_go_on()}")
        raise SystemExit(signals.EXIT_RESUMABLE) from None
    except KeyboardInterrupt:
        _say_the_end("interrupted")
        raise SystemExit(signals.EXIT_AT_ONCE) from None
    except Exception as error:
        keep_traceback(error)
        if TRACEBACKS or not (said := in_one_line(error)):
            raise
        print(f"error: {in_a_line(said)}", file=sys.stderr)
        raise SystemExit(exit_code_of(error)) from None


def _say_the_end(line: str) -> None:
    if not is_spoken_for():
        print(line, file=sys.stderr)


def in_one_line(error: Exception) -> str | None:
    """What the user is told of an error, without passwords; None of one that only its traceback explains."""
    if is_user_error(error) or isinstance(error, StoppedError):
        return masked_text(one_line(error))
    if is_out_of_memory(error):
        halve = "halve device.micro_batch, which changes no result but its rounding"
        free = f"where the device has more memory free, {how_to_go_on()}"
        return masked_text(f"{one_line(error)}; {halve if is_typed() else free}")
    if isinstance(error, OSError) and error.filename is not None and error.errno in SAID_BY_THE_SYSTEM:
        return f"{os.fsdecode(error.filename)}: {os.strerror(error.errno)}; choose another folder, or make room"
    return None


def exit_code_of(error: Exception) -> int:
    """Of a user's mistake 2; of what stopped a run that was set up rightly its own, or 1."""
    if is_user_error(error):
        return EXIT_USER_ERROR
    return error.exit_code if isinstance(error, StoppedError) else 1


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out, on whatever device, in this error or in what caused it."""
    while error is not None:
        text = f"{type(error).__name__} {error}".lower()
        if isinstance(error, MemoryError) or any(words in text for words in _OUT_OF_MEMORY):
            return True
        error = error.__cause__
    return False


@contextmanager
def _hydra_raises() -> Iterator[None]:
    """Hydra prints several lines and ends the process itself unless this variable asks it for the exception."""
    set_here = {"HYDRA_FULL_ERROR": "1"} if TRACEBACKS else {"HYDRA_FULL_ERROR": "1", OWN_SWITCH: "1"}
    with environment(set_here):
        yield


def is_interruption(error: BaseException) -> bool:
    """Whether what ended a job is nothing that it did: it was asked to leave, or its machine took no more of it."""
    return isinstance(error, KeyboardInterrupt) or getattr(error, "exit_code", None) == signals.EXIT_RESUMABLE


def is_user_error(error: BaseException) -> bool:
    """Whether the message alone tells a user what to mend."""
    kinds = UserError | DataError | HydraException | OmegaConfBaseException
    return isinstance(error, kinds) or (not isinstance(error, OSError) and _is_refused_by_hydra(error))


def _is_refused_by_hydra(error: BaseException) -> bool:
    """Whether an error of no particular type came from Hydra or OmegaConf themselves, which read what was typed."""
    walked = [
        frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    return next((name for name in reversed(walked) if name not in sys.stdlib_module_names), None) in _COMPOSING
