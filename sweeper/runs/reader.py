"""Reads what a run left in its folder: the only reader of these files, for reports, tables, queries and the run itself.

``read_run`` reads a run, and ``read_finished_run`` one that must have ended and be whole.

A file that is missing, cut short, or of other types than were written is a ``UserError`` of one line that names it.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from mdaf.errors import UserError
from mdaf.files.plain import plain, plain_text
from mdaf.processes.interruption import how_to_choose_a_folder
from mdaf.sweeper.runs.metric_columns import (
    COLUMNS,
    MONITOR,
    NEEDED,
    WHOLE_NUMBERS,
    EpochMetrics,
    best_epoch,
    is_monitor,
    is_ranking,
)

BEST = "best.pt"
RESULT = "result.json"
CONFIG = Path(".hydra/config.yaml")
OVERRIDES = Path(".hydra/overrides.yaml")

_KINDS: dict[str, tuple[type, ...]] = {  # of what stands in result.json, where it does
    "state": (str,),
    "seed": (int,),
    "best_epoch": (int,),
    "epochs": (int,),
    "monitor": (str,),
    "best": (dict,),
    "config_hash": (str,),
    "data_hash": (str,),
    "commit": (str,),
    "device": (str,),
    "precision": (str,),
    "splits": (str,),
    "trivial_rule": (dict,),
    "checkpoint": (str,),
    "parts": (list,),
    "study": (str, type(None)),
    "trial": (int, type(None)),
}
IDENTITY = ("state", "seed", "best_epoch", "best", "config_hash", "data_hash", "commit", "device")


def read_result(folder: Path, needs: Sequence[str] = ("state",)) -> dict[str, Any] | None:
    """A run's result.json, with the keys that the caller ``needs``; None if there is none."""
    file = folder / RESULT
    remedy = "delete it to have the run repeated"
    result = read_json(file, remedy) if file.exists() else None
    if result is None:
        return None
    for name in (*needs, *_KINDS):
        if name not in result:
            if name in needs:
                raise UserError(f"{file} is damaged: it has no {name}; {remedy}")
            continue
        if not isinstance(result[name], _KINDS.get(name, (object,))) or isinstance(result[name], bool):
            raise UserError(f"{file} is damaged: {name} is {_shown(result[name])}; {remedy}")
    if not is_monitor(result.get("monitor", MONITOR)):
        raise UserError(f"{file} is damaged: monitor is {_shown(result['monitor'])}; {remedy}")
    if strange := [name for name, value in result.get("best", {}).items() if not _is_number_or_none(value)]:
        raise UserError(f"{file} is damaged: best.{strange[0]} is {_shown(result['best'][strange[0]])}; {remedy}")
    return result


@dataclass(frozen=True)
class RecordedRun:
    """A run as its folder records it.

    ``result``  its result.json; empty if the run has not ended.

    The other files are read when they are first asked for: a run without metrics.csv can still be told by its result.
    """

    folder: Path
    result: dict[str, Any]

    @cached_property
    def history(self) -> list[EpochMetrics]:
        """The epochs in metrics.csv."""
        return read_metrics(self.folder)

    @cached_property
    def monitor(self) -> str:
        """The metric that decides the best epoch, as the result says or, of a run that has not ended, the config."""
        if self.result or not (self.folder / CONFIG).is_file():
            return str(self.result.get("monitor", MONITOR))
        named = OmegaConf.select(self.config, "training.monitor", throw_on_resolution_failure=False)
        return named if isinstance(named, str) and is_monitor(named) else MONITOR

    @property
    def best(self) -> EpochMetrics:
        """The epoch with the best value of ``monitor``, as the training loop keeps it."""
        return best_epoch(self.history, self.monitor)

    @cached_property
    def config(self) -> DictConfig:
        """The config that Hydra saved with the run."""
        return read_config(self.folder)

    @cached_property
    def overrides(self) -> list[str]:
        """What was typed for the run."""
        return read_overrides(self.folder)

    @property
    def is_complete(self) -> bool:
        """Whether the run ended by itself, neither pruned nor failed."""
        return self.result.get("state") == "complete"


def read_run(folder: Path, needs: Sequence[str] = ("state",)) -> RecordedRun:
    """The run in a folder; a result.json, where there is one, has the keys that the caller ``needs``."""
    return RecordedRun(folder, read_result(folder, needs) or {})


def read_finished_run(folder: Path) -> RecordedRun:
    """A run that has ended; UserError names the file that is missing, damaged, or of another run than the others."""
    run, file = read_run(folder, IDENTITY), folder / "metrics.csv"
    if not run.result:
        raise UserError(f"{folder}: holds no result.json, expected a finished run; finish it or leave it out")
    for metrics in run.history:
        if missing := [name for name in (*NEEDED, run.monitor) if metrics.get(name) is None]:
            raise UserError(f"{file} is damaged: epoch {metrics['epoch']} has no {missing[0]}")
    said = run.result.get("epochs", len(run.history))
    if len(run.history) != said or not run.history:
        raise UserError(
            f"{file} is damaged: it holds {len(run.history)} epochs, result.json says {run.result.get('epochs')}"
        )
    return run


def is_finished(folder: Path) -> bool:
    """Whether a run was finished in the folder and its best weights are still there; a damaged result counts."""
    try:
        result = read_result(folder, needs=())
    except UserError:
        return True
    return result is not None and (folder / BEST).is_file()


class FinishedError(UserError):
    """A folder in which a run was finished, and another one is to begin."""


def check_unfinished(folder: Path) -> None:
    """FinishedError if a run was finished in the folder."""
    if is_finished(folder):
        raise FinishedError(
            f"{folder}: holds a finished run, which is not overwritten; move it away, or choose another folder: "
            f"{how_to_choose_a_folder()}"
        )


def read_metrics(folder: Path) -> list[EpochMetrics]:
    """The epochs in a run's metrics.csv."""
    file = folder / "metrics.csv"
    try:
        text = plain_text(file).read_text(encoding="utf-8")
        if not text.endswith("\n"):
            raise ValueError("its last line is cut")
        history = [_row(row) for row in csv.DictReader(io.StringIO(text, newline=""))]
    except FileNotFoundError:
        raise UserError(f"{file}: not there, expected the metrics of a run") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise UserError(f"{file} is damaged: expected numbers and a column 'epoch' ({error})") from None
    if [row["epoch"] for row in history] != list(range(1, len(history) + 1)):
        raise UserError(f"{file} is damaged: expected the epochs 1, 2, 3, ..., each once")
    return history


def read_config(folder: Path) -> DictConfig:
    """The config that Hydra saved with a run."""
    config = _read_yaml(folder / CONFIG)
    if not isinstance(config, DictConfig):
        raise UserError(f"{folder / CONFIG} is damaged: expected the config of the run")
    return config


def read_overrides(folder: Path) -> list[str]:
    """What was typed for a run, as Hydra saved it; nothing where it did not."""
    file = folder / OVERRIDES
    if not file.exists():
        return []
    found = _read_yaml(file)
    if not isinstance(found, ListConfig):
        raise UserError(f"{file} is damaged: expected a list of overrides")
    return [str(override) for override in found]


def checkpoint_digest(folder: Path) -> str | None:
    """The SHA-256 of a run's best.pt, by which whatever was computed from it is known; None if it is not there."""
    file = folder / BEST
    try:
        state = _state_of(file)
        if (known := _digests.get(state)) is None:
            with plain(file).open("rb") as content:
                known = hashlib.file_digest(content, "sha256").hexdigest()
            _remember(state, known)
        return known
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None


def own_checkpoint(folder: Path, result: Mapping[str, Any]) -> str | None:
    """The ``checkpoint_digest`` of a finished run. UserError if the run ended with another file than is there now."""
    digest, written = checkpoint_digest(folder), result.get("checkpoint")
    if None not in (digest, written) and digest != written:
        raise UserError(
            f"{folder / BEST}: its SHA-256 is {digest}, but {folder / RESULT} says {written}: it is damaged or of "
            "another run; put the run's own file back, train the run again, or leave it out"
        )
    return digest


def read_json(file: Path, remedy: str) -> dict[str, Any]:
    """A JSON object; what is no finite number in it, which older versions wrote, becomes None."""
    try:
        found = json.loads(plain_text(file).read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged: expected a JSON object ({error}); {remedy}") from None
    if not isinstance(found, dict):
        raise UserError(f"{file} is damaged: expected a JSON object; {remedy}")
    return found


#: The SHA-256 of files by the state in which they were read or written.
_digests: dict[tuple[int, ...], str] = {}
MOST_DIGESTS = 4096


def was_written(file: Path, sha256: str) -> None:
    """Spares ``checkpoint_digest`` from reading a file again, which this process has just written."""
    _remember(_state_of(file), sha256)


def _state_of(file: Path) -> tuple[int, ...]:
    """What tells a file from any other one, under whatever name: its place, when it was written, and its size."""
    state = file.stat()
    return state.st_dev, state.st_ino, state.st_mtime_ns, state.st_size


def _remember(state: tuple[int, ...], sha256: str) -> None:
    if len(_digests) >= MOST_DIGESTS:
        _digests.clear()
    _digests[state] = sha256


def _read_yaml(file: Path) -> Any:
    try:
        return OmegaConf.load(plain_text(file))
    except FileNotFoundError:
        raise UserError(f"{file}: not there, expected what Hydra saved with the run") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # YAML's, OmegaConf's and the decoder's errors have nothing in common
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise UserError(f"{file} is damaged: expected YAML ({reason})") from None


def _row(row: Mapping[str, str]) -> EpochMetrics:
    if None in row or None in row.values():
        raise ValueError("a line has other columns than the first one names")
    read: dict[bool, Callable[[str], Any]] = {True: int, False: _finite}
    numbers = {name: read[name in WHOLE_NUMBERS](row[name]) if row.get(name) else None for name in COLUMNS}
    numbers |= {name: _finite(row[name]) if row[name] else None for name in row if is_ranking(name)}
    numbers["epoch"] = int(row["epoch"])
    return numbers


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _is_number_or_none(value: Any) -> bool:
    with contextlib.suppress(OverflowError):  # a whole number that no float can hold
        return value is None or (
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        )
    return False


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
