"""Relative paths always start in the directory where the command was typed, in every process and in every job."""

from __future__ import annotations

import os
from pathlib import Path

from hydra.core.hydra_config import HydraConfig


def from_anywhere(url: str) -> str:
    """A storage URL with an absolute path, so that it names the same file in every working directory."""
    scheme, mark, path = url.partition(":///")
    is_file = scheme.partition("+")[0] in ("sqlite", "journal") and not path.startswith(("/", ":memory:", "file:"))
    return f"{scheme}{mark}{Path(path).absolute()}" if is_file and path else url


def work_where_it_was_typed() -> None:
    """Undoes ``hydra.job.chdir``. A job of this project uses the full path of its run folder instead."""
    hydra = HydraConfig.get()
    if hydra.job.chdir:  # Hydra restores the directory when the job ends
        os.chdir(hydra.runtime.cwd)
