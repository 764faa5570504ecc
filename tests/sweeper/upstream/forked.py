"""A pytest plugin for upstream's test-suite: its programs run in forked processes, which need not import everything.

The programs get the warnings that the suite asks for with ``-W``, and their output and exit code are their own.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import optuna.storages
import sqlalchemy.dialects.sqlite
from hydra.core.plugins import Plugins
from hydra.test_utils import test_utils

from tests.processes import _become

__all__ = ["optuna", "sqlalchemy"]  # imported once, before anything is forked
Plugins.instance()


def run_process(
    cmd: list[str],
    env: Any = None,
    print_error: bool = True,
    raise_exception: bool = True,
    timeout: float | None = None,
) -> tuple[str, str]:
    """As Hydra's: runs a script of Python, and returns what it printed."""
    options = [word for word in cmd[1:] if word.startswith("-W")]
    script, *arguments = [word for word in cmd[1:] if not word.startswith("-W")]
    with tempfile.TemporaryDirectory() as said:
        process = multiprocessing.get_context("fork").Process(
            target=_run, args=(options, script, tuple(arguments), said)
        )
        process.start()
        process.join(timeout)
        out, err = ((Path(said) / name).read_text().rstrip() for name in ("out", "err"))
    if process.exitcode and raise_exception:
        sys.stderr.write(err)
        raise subprocess.CalledProcessError(process.exitcode, cmd)
    return out, err


def _run(options: list[str], script: str, arguments: tuple[str, ...], said: str) -> None:
    for option in options:
        action, message = (*option.removeprefix("-W").strip().split(":"), "")[:2]
        warnings.filterwarnings(action, re.escape(message))  # type: ignore[arg-type]
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))  # not pytest's
    sys.path.insert(0, str(Path(script).parent.absolute()))
    _become(script, arguments, os.getcwd(), dict(os.environ), said)


test_utils.run_process = run_process
