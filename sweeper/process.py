"""Which process this is, on which machine, and whether another one is still there."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import socket
import subprocess
import uuid
from pathlib import Path


def this_process() -> str:
    """This process as ``host:pid:start``, unique among all processes of all machines.

    ``host`` is the name of the machine and eight hex digits of its boot and process namespace; ``start`` is what the
    system says of when the process began.
    """
    return f"{_host()}:{os.getpid()}:{_start_of(os.getpid())}"


def is_gone(process: str) -> bool | None:
    """Whether a process, as ``this_process`` said it, is over; None if that can't be told from this machine."""
    host, _, rest = process.partition(":")
    pid, _, start = rest.partition(":")
    if host != _host() or not pid.isdigit():
        return None
    return _start_of(int(pid)) != start


@functools.cache
def _host() -> str:
    """The machine since its last boot, and the namespace that gives its process ids a meaning."""
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    try:
        identity = f"{boot.read_text().strip()} {os.readlink(space)}"
    except OSError:
        identity = f"{platform.platform()} {uuid.getnode()}"
    return f"{socket.gethostname()}/{hashlib.sha256(identity.encode()).hexdigest()[:8]}".replace(":", "-")


def _start_of(pid: int) -> str | None:
    """When a process began, as the system writes it, without colons; None if there is none, or only its remains."""
    try:
        # The name, which may hold anything, ends at the last parenthesis; state and start are fields 3 and 22.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
    said = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, start = said.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else start.strip().replace(":", "-")
