"""A PostgreSQL server for the length of a test: Debian's, or any whose programs are found."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from mdaf.extras import install


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


class Server:
    """A server that may be restarted, killed, frozen and filled up; ``url`` is the storage's."""

    def __init__(self) -> None:
        pytest.importorskip("psycopg", reason=f"the driver is not installed: {install('postgres')}")
        self._initdb, self._pg_ctl, self._as = _program("initdb"), _program("pg_ctl"), _user()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
        if self._as is not None:
            shutil.chown(self.folder, self._as)
        self._data = self.folder / "data"
        self._options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={self.folder}"
        self._options += " -c fsync=off"
        self.url = f"postgresql+psycopg://mdaf@127.0.0.1:{port}/postgres"
        self.address = f"host=127.0.0.1 port={port} user=mdaf dbname=postgres connect_timeout=5"

    def create(self) -> None:
        arguments = ("-U", "mdaf", "--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8")
        self._run(self._initdb, "-D", str(self._data), *arguments)
        self.start()

    def start(self, **settings: int) -> None:
        options = self._options + "".join(f" -c {name}={value}" for name, value in settings.items())
        log = str(self.folder / "log.txt")
        self._run(self._pg_ctl, "-D", str(self._data), "-w", "-o", options, "-l", log, "start")

    def stop(self, mode: str = "fast") -> None:
        self._run(self._pg_ctl, "-D", str(self._data), "-m", mode, "-w", "stop")

    def remove(self) -> None:
        if (self._data / "postmaster.pid").exists():
            self.signal(signal.SIGCONT)
            self.stop("immediate")
        shutil.rmtree(self.folder)

    def processes(self) -> list[int]:
        """The postmaster, then what it started."""
        postmaster = int((self._data / "postmaster.pid").read_text().split()[0])
        children = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == postmaster:
                children.append(int(stat.parent.name))
        return [postmaster, *children]

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to all of its processes."""
        for process in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process, number)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Its processes stop, and keep every connection open."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def connect(self) -> Any:
        import psycopg

        return psycopg.connect(self.address, autocommit=True)

    def wait(self) -> None:
        """Until it answers."""
        while True:
            try:
                self.connect().close()
            except Exception:
                time.sleep(0.1)
            else:
                return

    def end_connections(self) -> int:
        """Ends all connections but its own; how many."""
        ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        with self.connect() as connection:
            where = "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            return int(connection.execute(f"{ended} {where}").fetchone()[0])

    @contextmanager
    def full(self) -> Iterator[None]:
        """Nobody else gets a connection, and those that have one lose it."""
        held: list[Any] = []
        try:
            self.end_connections()
            with suppress(Exception):  # there are too many, as it should be
                while True:
                    held.append(self.connect())
            yield
        finally:
            for connection in held:
                connection.close()

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            command, user=self._as, cwd=self.folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def breakable_server() -> Iterator[Server]:
    """An empty server on a free port of this machine, removed in the end."""
    server = Server()
    try:
        server.create()
        yield server
    finally:
        server.remove()


@contextmanager
def server() -> Iterator[str]:
    """Starts an empty server on a free port of this machine; yields a storage URL; stops it and removes its files."""
    with breakable_server() as breakable:
        yield breakable.url
