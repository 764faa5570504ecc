"""What PostgreSQL says of itself, and what its processes on this machine have worked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Server:
    """PostgreSQL's own figures: seconds of its processor time so far, transactions so far, connections now."""

    processor: float
    transactions: int
    connections: int

    @staticmethod
    def read(url: str) -> Server:
        """Asks the server, and reads the times of its processes, those that have ended included."""
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            mine = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
            stat = "SELECT xact_commit, numbackends FROM pg_stat_database WHERE datname = current_database()"
            transactions, connections = connection.execute(sa.text(stat)).one()
            parent = int(_stat(mine)[1])
            ticks = sum(map(int, _stat(parent)[11:15]))
            for folder in Path("/proc").iterdir():
                if folder.name.isdigit() and (fields := _stat(int(folder.name))) and int(fields[1]) == parent:
                    ticks += int(fields[11]) + int(fields[12])
        return Server(ticks / TICK, transactions, connections)


def _stat(process: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none if there is no such process."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
