"""Phase 4: the winner of a study, repeated over seeds. Runs that are there already are not repeated."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_module

from data.prepare import prepare_config
from sweeper.config import config_hash, validate
from sweeper.errors import UserError
from sweeper.queries import best_records, load_studies, load_study, most_recent_study
from sweeper.storage import open_storage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Winner:
    """A study's best trial, as the overrides that repeat it, the seed left out."""

    study: str
    number: int
    value: float
    overrides: tuple[str, ...]


def find_winner(storage_url: str, study_name: str | None) -> Winner:
    """The best completed trial. UserError if the storage holds no such study or the study no completed trial."""
    storage = open_storage(storage_url, create=False, read_only=True)
    study = load_study(storage, study_name) if study_name else most_recent_study(load_studies(storage))
    if len(study.directions) > 1:
        raise UserError(f"study {study.study_name!r} has several objectives, so no single winner; name one objective")
    best = best_records(study, top=1)[0]
    overrides = tuple(override for override in best["overrides"] if not override.startswith("seed="))
    return Winner(study.study_name, best["number"], best["value"], overrides)


def replicate(winner: Winner, seeds: Sequence[int], folder: Path) -> list[Path]:
    """Trains the winner on every seed that has no finished run yet, and returns the folders of all of them."""
    home = folder / winner.study / f"trial-{winner.number}"
    runs = {seed: home / f"seed-{seed}" for seed in seeds}
    missing = [seed for seed, run in runs.items() if not finished(run, [*winner.overrides, f"seed={seed}"])]
    log.info("%d of %d seeds are there already", len(seeds) - len(missing), len(seeds))
    if missing:
        launch([*winner.overrides, f"seed={','.join(map(str, missing))}"], home)
    return list(runs.values())


def finished(run: Path, overrides: Sequence[str]) -> bool:
    """Whether ``run`` holds the result of exactly this configuration on exactly these data."""
    file = run / "result.json"
    if not file.exists():
        return False
    result = json.loads(file.read_text())
    with initialize_config_module("conf"):
        cfg = compose("config", overrides=list(overrides))
    validate(cfg)
    same = result["config_hash"] == config_hash(cfg) and result["data_hash"] == prepare_config(cfg.data).data_hash
    return same and result["state"] == "complete"


def launch(overrides: Sequence[str], home: Path) -> None:
    """One Hydra multirun in a process of its own, so that it is the very command a user would type."""
    where = [f"hydra.sweep.dir={home}", "hydra.sweep.subdir=seed-${seed}"]
    command = [sys.executable, "-m", "sweeper", "-m", *overrides, *where, "~hydra.callbacks.table"]
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise UserError(
            f"replication stopped with exit code {done.returncode}; the same command goes on where it stopped"
        )
