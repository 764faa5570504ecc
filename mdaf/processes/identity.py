"""The identity of a process on a machine, and whether another process is still alive."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import socket
import subprocess
import uuid
from pathlib import Path

OVER = "over"  # instead of a start: the process is a zombie
UNKNOWN = "None"  # instead of a start that the system does not show


def this_process() -> str:
    """This process as ``host:pid:start``, unique among all processes of all machines.

    ``host`` is the name of the machine and eight hex digits of its boot and process namespace; ``start`` is what the
    system says of when the process began.
    """
    return f"{_host()}:{os.getpid()}:{_start_of(os.getpid()) or UNKNOWN}"


def is_gone(process: str) -> bool | None:
    """Whether a process, in the form of ``this_process``, has ended; None if that is unknown here.

    It is unknown for a process of another machine or container, and for another user's process whose start the system
    hides. Then only its lease tells whether it is alive.
    """
    host, _, rest = process.partition(":")
    pid, _, start = rest.partition(":")
    if host != _host() or not pid.isdigit() or not 0 < int(pid) < 2**31:
        return None
    if not _is_taken(int(pid)):
        return True
    found = _start_of(int(pid))
    if found is None or start in ("", UNKNOWN):
        return None
    return found != start


@functools.cache
def _host() -> str:
    """The machine since its last boot, and the namespaces that give its process ids and their starts a meaning."""
    boot, spaces = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns")
    try:
        identity = f"{boot.read_text().strip()} {os.readlink(spaces / 'pid')}"
        with contextlib.suppress(OSError):  # older systems have none
            identity += f" {os.readlink(spaces / 'time')}"
    except OSError:
        identity = f"{platform.platform()} {uuid.getnode()}"
    return f"{socket.gethostname()}/{hashlib.sha256(identity.encode()).hexdigest()[:8]}".replace(":", "-")


def _is_taken(pid: int) -> bool:
    """Whether a process has this id, whosever it is; what remains of one that ended does not count."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return _start_of(pid) != OVER


def _start_of(pid: int) -> str | None:
    """When a process began, as the system writes it, without colons; OVER of its remains; None if it can't be seen."""
    if Path("/proc/self/stat").exists():
        if not _sees_our_namespace():
            return None
        try:
            # The name, which may hold anything, ends at the last parenthesis; state and start are fields 3 and 22.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it is over, or hidden from us
            return None
        return OVER if fields[0] in "ZX" else fields[19]
    said = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, start = said.stdout.strip().partition(" ")
    if state.startswith("Z"):
        return OVER
    return start.strip().replace(":", "-") or None


@functools.cache
def _sees_our_namespace() -> bool:
    """Whether /proc counts processes as we do: it does not in a process namespace that has no /proc of its own."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False
