"""Restores the files that Hydra saves of a job, in case another job has overwritten them.

Hydra writes a job's config to the run folder before the job can check whether another process is using that folder. A
job that is refused then has already overwritten the config of the run that is using it.
"""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from mdaf.files.atomic import write_atomically
from mdaf.sweeper.runs.reader import CONFIG, OVERRIDES


class OwnConfig:
    """The config and the overrides of a job. Create it when the job has locked its folder."""

    def __init__(self, cfg: DictConfig, folder: Path) -> None:
        self._files = {
            folder / CONFIG: OmegaConf.to_yaml(cfg).encode(),
            folder / OVERRIDES: OmegaConf.to_yaml(HydraConfig.get().overrides.task).encode(),
        }

    def restore(self) -> None:
        """Writes each file again that another job has overwritten. Files that Hydra did not save are not written."""
        for file, content in self._files.items():
            if file.is_file() and file.read_bytes() != content:
                write_atomically(file, lambda opened, content=content: opened.write(content))  # type: ignore[misc]
