"""A program whose first job goes on only when a file is there: ``python -m tests.sweeper.patient -m wait_for=FILE``.

The file is looked for in the current directory; every job leaves a file named after its trial when it begins.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

import mdaf


@dataclass
class Patient:
    """The job's config."""

    x: float = 0.5
    wait_for: str = "nothing"


@hydra.main(config_path=None, config_name="patient", execution_whitelist=("sweeper.*", "optuna.*"))
def job(cfg: DictConfig) -> float:
    trial = mdaf.attach()
    Path(f"begun-{trial.number}").touch()
    while trial.number == 0 and not Path(cfg.wait_for).exists():
        time.sleep(0.05)
    return float(cfg.x)


def main() -> None:
    from tests.sweeper import patient  # not __main__, whose classes annotations can't name

    ConfigStore.instance().store("patient", patient.Patient)
    job()


if __name__ == "__main__":
    main()
