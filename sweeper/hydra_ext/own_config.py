"""What Hydra saved of a job, kept that job's own.

Hydra writes a job's config into its folder before the job can ask whether another process works there. One that is
refused then has left its own over that of the run.
"""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from mdaf.atomic import write_atomically
from mdaf.sweeper.runs.reader import CONFIG, OVERRIDES


class OwnConfig:
    """The config and the overrides of the job that begins, whose folder is locked."""

    def __init__(self, cfg: DictConfig, folder: Path) -> None:
        self._files = {
            folder / CONFIG: OmegaConf.to_yaml(cfg).encode(),
            folder / OVERRIDES: OmegaConf.to_yaml(HydraConfig.get().overrides.task).encode(),
        }

    def restore(self) -> None:
        """Writes again what is not this job's any more; nothing where Hydra was told to save nothing."""
        for file, content in self._files.items():
            if file.is_file() and file.read_bytes() != content:
                write_atomically(file, lambda opened, content=content: opened.write(content))  # type: ignore[misc]
