"""Where a report's figures come from, and the checks that its runs are whole and comparable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from mdaf.errors import UserError
from mdaf.sweeper.hydra_ext.run_config import config_hash
from mdaf.sweeper.runs.reader import RecordedRun


@dataclass(frozen=True)
class TrivialRule:
    """A rule that needs no model, and the validation AUC that it reaches."""

    rule: str
    val_auc: float


@dataclass(frozen=True)
class Source:
    """Where a run's figures come from.

    ``point``    name of the configuration that the run is one seed of.
    ``stage``    ``search``, ``confirmation`` or ``phase 4``.
    ``folder``   the run's folder, relative to that of the report.
    ``study``    that the run confirms or repeats, None if none; ``trial``: the one that had this configuration, if any.
    ``checkpoint``  SHA-256 of the run's best.pt, if figures come from it; versions before this did not write it.
    ``trivial_rule``  the trivial rule that does best on the run's validation rows, as its result.json says.
    ``splits``      a sentence that says what the data's splits promise; versions before this did not write it.
    """

    id: str
    stage: str
    point: str
    seed: int
    folder: str
    study: str | None
    trial: int | None
    config_hash: str
    data_hash: str
    commit: str
    device: str
    checkpoint: str = ""
    splits: str = ""
    trivial_rule: TrivialRule | None = None


def check_agreement(run: RecordedRun) -> None:
    """UserError if a run's result.json and metrics.csv do not tell of the same best epoch."""
    for name, value in {"epoch": run.result["best_epoch"], **run.result["best"]}.items():
        if name in run.best and value != run.best[name]:
            raise UserError(
                f"{run.folder}: result.json says {name} {value} of the best epoch, metrics.csv says {run.best[name]}: "
                "one of them is not this run's; train the run again, or leave it out"
            )


def check_same_data(folders: Mapping[str, Path]) -> None:
    """UserError where runs, by the hash of their data, were evaluated on more than one log: nothing compares them."""
    if len(folders) > 1:
        (one, first), (other, second) = list(folders.items())[:2]
        raise UserError(
            f"{first} and {second}: were trained and evaluated on different data ({one[:12]} and {other[:12]}), "
            "expected runs on the same data; summarize those of each log by themselves"
        )


def configuration_of(config: DictConfig) -> str:
    """A hash of a run's config but for its seed: runs that agree in it differ in the seed alone."""
    config = config.copy()
    config.seed = 0
    return config_hash(config)
