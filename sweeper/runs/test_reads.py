"""The log of reads of the test split: it only grows, so that a report can say how often that split was read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from mdaf.errors import UserError
from mdaf.sweeper.runs.provenance import commit
from mdaf.sweeper.runs.reader import checkpoint_digest

TEST_READS = "test_reads.jsonl"


def log_read(folders: Sequence[Path], log_folder: Path, purpose: str = "report") -> None:
    """Adds a line before the test split is read, so that even a read that was interrupted is in the log."""
    record = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "purpose": purpose,
        "commit": commit(),
        "runs": [str(folder) for folder in folders],
        "checkpoints": [(checkpoint_digest(folder) or "")[:12] for folder in folders],
    }
    log_folder.mkdir(parents=True, exist_ok=True)
    with (log_folder / TEST_READS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def reads_of_test(log_folder: Path) -> list[dict[str, object]]:
    """The log of reads of the test split, oldest first."""
    file = log_folder / TEST_READS
    try:
        return (
            [dict(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []
        )
    except (ValueError, TypeError) as error:
        raise UserError(f"{file} is damaged: expected a JSON object in each line ({error})") from None
