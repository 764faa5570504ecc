"""What relative paths mean: they start in the directory where a command was typed, in every process and job."""

from __future__ import annotations

import os
from pathlib import Path

from hydra.core.hydra_config import HydraConfig


def from_anywhere(url: str) -> str:
    """A storage URL that means the same file in every working directory."""
    scheme, mark, path = url.partition(":///")
    is_file = scheme.partition("+")[0] in ("sqlite", "journal") and not path.startswith(("/", ":memory:", "file:"))
    return f"{scheme}{mark}{Path(path).absolute()}" if is_file and path else url


def work_where_it_was_typed() -> None:
    """Undoes ``hydra.job.chdir`` for a job of this project, which names its run folder wherever it writes to it."""
    hydra = HydraConfig.get()
    if hydra.job.chdir:  # Hydra goes back by itself when the job ends
        os.chdir(hydra.runtime.cwd)
