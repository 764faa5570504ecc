"""The looks that were made at a study's questions: a log that only grows, so that nobody looks more often unseen.

A look is written down before its result is known. A command that is typed again repeats the looks that are there, on
the seeds that they had, and goes on with the next one of the same plan. Logs in other folders count as well, so another
folder is no way to look anew.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mdaf.errors import UserError
from mdaf.multirun.analysis.looks.decision import LookPlan
from mdaf.sweeper.runs.provenance import commit

log = logging.getLogger(__name__)

FILE = "looks.jsonl"


@dataclass(frozen=True)
class Question:
    """Is ``a`` better than ``b``? By what they compute and on which data, whatever the seed."""

    a: str
    b: str


@dataclass(frozen=True)
class Planned:
    """What of a plan may not change once it was looked at. That futility ends the looks is not binding."""

    looks: list[int]
    alpha: float
    margin: float | None
    seeds: list[int]
    rows: str

    def __str__(self) -> str:
        margin = "" if self.margin is None else f" margin={self.margin:g}"
        rows = " test=false" if self.rows == "validation" else ""
        return f"looks={self.looks} alpha={self.alpha:g}{margin}{rows} seeds={self.seeds}".replace(", ", ",")


@dataclass(frozen=True)
class LookMade:
    """A line of the log. ``names``: those of the two configurations; ``seeds``: of the pairs that were there."""

    question: Question
    names: list[str]
    plan: Planned
    look: int
    seeds: list[int]


class LooksMade:
    """The looks at one question under one plan, and what else was looked at for the same study.

    ``elsewhere``    folders below which other logs are read. Of them count looks at this very question, and at others
                     against the same second point.
    ``folder_name``  of the folders whose logs are read there; None: of any.
    UserError if the log is damaged; one elsewhere is left out with a warning.
    """

    def __init__(
        self,
        folder: Path,
        question: Question,
        names: Sequence[str],
        plan: Planned,
        elsewhere: Iterable[Path] = (),
        folder_name: str | None = None,
    ) -> None:
        self._file = folder / FILE
        self._question, self._names, self._plan = question, list(names), plan
        self._lines = _read(self._file)
        self._elsewhere = [
            line for line in _read_below(elsewhere, self._file, folder_name) if line.question.b == question.b
        ]

    def seeds(self) -> list[list[int]]:
        """The seeds of each look that was made under this plan, in order."""
        return [line.seeds for line in self._lines if (line.question, line.plan) == (self._question, self._plan)]

    def other_plans(self) -> list[str]:
        """Other plans under which this question was looked at, as they are typed."""
        return _each_once(
            str(line.plan)
            for line in [*self._lines, *self._elsewhere]
            if line.question == self._question and line.plan != self._plan
        )

    def other_questions(self) -> list[str]:
        """Other questions that were looked at for this study: other configurations, other epochs, other data."""
        return _each_once(
            " against ".join(line.names) for line in [*self._lines, *self._elsewhere] if line.question != self._question
        )

    def add(self, look: int, seeds: Sequence[int]) -> None:
        """Writes a look down, before its result is known."""
        made = LookMade(self._question, self._names, self._plan, look, list(seeds))
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit(), **asdict(made)}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._lines.append(made)


def planned(plan: LookPlan, seeds: Sequence[int], rows: str) -> Planned:
    """What of a plan is written down."""
    return Planned(list(plan.looks), plan.alpha, plan.margin, list(seeds[: plan.looks[-1]]), rows)


def _each_once(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _read(file: Path) -> list[LookMade]:
    if not file.is_file():
        return []
    try:
        held = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return [
            LookMade(
                Question(str(line["question"]["a"]), str(line["question"]["b"])),
                [str(name) for name in line["names"]],
                _planned(line["plan"]),
                int(line["look"]),
                [int(seed) for seed in line["seeds"]],
            )
            for line in held
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} is damaged: expected a look in each line ({error})") from None


def _planned(held: Mapping[str, Any]) -> Planned:
    margin = None if held["margin"] is None else float(held["margin"])
    looks, seeds = ([int(number) for number in held[key]] for key in ("looks", "seeds"))
    return Planned(looks, float(held["alpha"]), margin, seeds, str(held["rows"]))


def _read_below(folders: Iterable[Path], own: Path, folder_name: str | None) -> list[LookMade]:
    """The looks of all other logs below some folders, each log once."""
    files = {file.resolve(): file for folder in folders for file in sorted(folder.rglob(FILE))}
    files.pop(own.resolve(), None)
    found = []
    for file in files.values():
        if folder_name is not None and file.parent.name != folder_name:
            continue
        try:
            found += _read(file)
        except UserError as error:
            log.warning("%s; its looks are not counted", error)
    return found
