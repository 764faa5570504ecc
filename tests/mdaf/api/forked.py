"""The child processes of ``mdaf.api``, forked from a process that has imported already what takes seconds."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.processes import CONTEXT, ROOT, _become


class ForkedChild:
    """As much of ``mdaf.processes.children.Child`` as ``mdaf.api`` uses."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], **_: Any) -> None:
        _, dash_m, module, *arguments = command
        assert dash_m == "-m"
        self._folder = tempfile.TemporaryDirectory()
        said = Path(self._folder.name)
        os.mkfifo(said / "out")
        (said / "err").symlink_to(said / "out")
        whole = dict(environment) | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"}
        self._process = CONTEXT.Process(target=_become, args=(module, tuple(arguments), os.getcwd(), whole, str(said)))
        self._process.start()
        self.stdout = (said / "out").open("rb")

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("", timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def let_go(self) -> None:
        self._folder.cleanup()
