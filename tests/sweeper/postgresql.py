"""A PostgreSQL server for the length of a test: Debian's, or any whose programs are found."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _program(name: str) -> str:
    places = [shutil.which(name), *sorted(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")))]
    found = [place for place in places if place]
    if not found:
        pytest.skip(f"PostgreSQL's {name} is not installed (Debian: apt-get install postgresql)")
    return found[-1]


def _user() -> str | None:
    """PostgreSQL refuses to run as root, so root lends the server to somebody else."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres or nobody")


@contextmanager
def server() -> Iterator[str]:
    """Starts an empty server on a free port of this machine; yields a storage URL; stops it and removes its files."""
    pytest.importorskip("psycopg", reason="the driver is not installed: pip install 'mdaf-sweep[postgres]'")
    initdb, pg_ctl, user = _program("initdb"), _program("pg_ctl"), _user()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    if user is not None:
        shutil.chown(folder, user)

    def run(*command: str) -> None:
        done = subprocess.run(command, user=user, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    data = folder / "data"
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
    try:
        run(initdb, "-D", str(data), "-U", "mdaf", "--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8")
        run(pg_ctl, "-D", str(data), "-w", "-o", options, "-l", str(folder / "log.txt"), "start")
        yield f"postgresql+psycopg://mdaf@127.0.0.1:{port}/postgres"
    finally:
        if (data / "postmaster.pid").exists():
            run(pg_ctl, "-D", str(data), "-m", "fast", "-w", "stop")
        shutil.rmtree(folder)
