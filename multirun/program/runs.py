"""The runs of points on fresh seeds: trials of a study of their own, which the program itself sweeps.

The study ``NAME-phase4`` has a trial for each point and seed. Its trials have leases, retries and run folders as those
of any other sweep; several processes may share it, and a command that was interrupted goes on with what is missing.
"""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from hydra.core.override_parser.types import ChoiceSweep
from hydra.errors import HydraException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from mdaf.errors import UserError
from mdaf.multirun.program.content import Point
from mdaf.multirun.program.study import Objective, Space, params_of, widened
from mdaf.multirun.program.typed import OURS, Program
from mdaf.sweeper.hydra_ext.overrides import SIGNS, choice_of, hydra_value, meant, override_text, parsed, same
from mdaf.sweeper.search.plugin import RegularizationSweeper
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.study.queries import trials_of
from mdaf.sweeper.trials.admitted import refusal, typed_here
from mdaf.sweeper.trials.allocation import FINISHED
from mdaf.sweeper.trials.user_attrs import ADDED, CONFIRMS
from mdaf.terminal.printable import in_a_line

optuna.logging.set_verbosity(optuna.logging.WARNING)  # the program's sweep says what is run

SUFFIX = "-phase4"
STORAGE_VARIABLE = "MDAF_VERDICT_STORAGE"  # the URL of the study database, for the program


@dataclass
class Series:
    """A point on its seeds: the trial of each run that has a value, and the seeds that have none."""

    point: Point
    done: dict[int, FrozenTrial] = field(default_factory=dict)
    missing: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Replicates:
    """The study of the runs.

    ``study``   whose points they are; ``signs``: key -> the sign before it where the program's config has no such key.
    ``folder``  where the program puts the runs' folders.
    """

    url: str
    study: Study
    objective: Objective
    seed_key: str
    space: Space
    signs: Mapping[str, str]
    folder: Path

    @property
    def name(self) -> str:
        """The name of the study that holds the runs."""
        return f"{self.study.study_name}{SUFFIX}"

    def load(self) -> Study | None:
        """The study that holds the runs, opened for reading; None if nothing was run yet. UserError for another's."""
        storage = open_storage(self.url, create=False, read_only=True)
        if self.name not in optuna.get_all_study_names(storage):
            return None
        found = optuna.load_study(study_name=self.name, storage=storage)
        if found.user_attrs.get(CONFIRMS) != self.study.study_name:
            raise UserError(
                f"study {self.name} is there, and does not hold the runs of a verdict on {self.study.study_name}; "
                "rename one of the two (mdaf-study copy)"
            )
        return found

    def plan(self, points: Sequence[Point], seeds: Sequence[int]) -> list[Series]:
        """Each point on these seeds, as far as it was run."""
        study = self.load()
        complete = trials_of(study, TrialState.COMPLETE) if study is not None else []
        key = self.seed_key.lstrip(SIGNS)
        return [self._series(point, seeds, complete, key) for point in points]

    def _series(self, point: Point, seeds: Sequence[int], complete: Sequence[FrozenTrial], key: str) -> Series:
        series = Series(point)
        for seed in seeds:
            wanted = {**point.params, key: seed}
            of_it = (
                t for t in complete if same(params_of(t), wanted) and math.isfinite(t.values[self.objective.index])
            )
            trial = next(of_it, None)
            if trial is None:
                series.missing.append(seed)
            else:
                series.done[seed] = trial
        return series

    def ended(self) -> int:
        """How many runs have ended with a value."""
        study = self.load()
        return 0 if study is None else len(study.get_trials(deepcopy=False, states=FINISHED))

    def run_missing(self, program: Program, points: Sequence[Point], seeds: Sequence[int]) -> list[Series]:
        """Has the program run what is missing of these points; each of them as it is afterwards.

        UserError if a point has no run with a value at all.
        """
        missing = [(one.point, seed) for one in self.plan(points, seeds) for seed in one.missing]
        if missing:
            self._create()
            program.run(self.overrides(missing), {STORAGE_VARIABLE: self.url})
        found = self.plan(points, seeds)
        for one in found:
            if not one.done:
                raise UserError(
                    f"{one.point.name}: none of its runs has a value; mdaf-study trials --study {self.name} says what "
                    "became of them; mend the cause, and type the same command again"
                )
        return found

    def _create(self) -> None:
        """Makes the study, and says in it what it is for."""
        storage = open_storage(self.url, create=False)
        study = optuna.create_study(
            study_name=self.name,
            storage=storage,
            directions=[StudyDirection[name.upper()] for name in self.objective.directions],
            load_if_exists=True,
        )
        if CONFIRMS not in study.user_attrs:
            study.set_user_attr(CONFIRMS, self.study.study_name)
        if self.objective.names and study.metric_names is None:
            study.set_metric_names(self.objective.names)

    # ---- the command of the sweep

    def point_overrides(self, point: Point) -> list[str]:
        """The overrides that put a job at a point. UserError where the study says what it may not."""
        return [override_text(f"{self.signs.get(key, '')}{key}", value) for key, value in point.params.items()]

    def overrides(self, missing: Sequence[tuple[Point, int]]) -> list[str]:
        """The sweep of exactly these runs: what is searched, and which points of it are tried."""
        study = self.load()
        finished = len([t for t in study.get_trials(deepcopy=False) if t.state in FINISHED]) if study is not None else 0
        names = {name for point, _ in missing for name in point.params}
        space = {name: d for name, d in widened(self.space, [p for p, _ in missing]).items() if name in names}
        seeds, key = [seed for _, seed in missing], self.seed_key.lstrip(SIGNS)
        enqueued = {
            f"{point.name} seed {seed}": {**{name: meant(value) for name, value in point.params.items()}, key: seed}
            for point, seed in missing
        }
        directions = self.objective.directions
        sweeper = {
            "_target_": f"{RegularizationSweeper.__module__}.{RegularizationSweeper.__qualname__}",
            "storage": f"${{oc.env:{STORAGE_VARIABLE}}}",  # its password is no word of a command line
            "study_name": self.name,
            "direction": directions[0] if len(directions) == 1 else directions,
            "n_trials": finished + len(missing),
            "replace_failed": True,  # so that every run that is missing has its place among n_trials
            "max_failure_rate": 1.0,  # a seed that fails is left out, and the report says so
            "sampler": None,
            "pruner": None,
            "custom_search_space": None,
            "target": None,
            "timeout": None,
            "plateau": None,
            "params": None,
            "only_enqueued": True,
        }
        return [
            OURS,
            *(f"hydra.sweeper.{name}={hydra_value(value)}" for name, value in sweeper.items()),
            "hydra.sweeper.enqueue=null",  # those of the program's own config
            f"hydra.sweeper.enqueue={hydra_value(enqueued)}",
            f"hydra.sweep.dir={hydra_value(str(self.folder))}",
            *(f"{self.signs.get(name, '')}{name}={searched(kind)}" for name, kind in space.items()),
            f"{self.seed_key}=int(interval({min(seeds)},{max(seeds)}))",
        ]


def searched(kind: BaseDistribution) -> str:
    """The text of a sweep that contains what a distribution does. UserError where Hydra's grammar has none."""
    if isinstance(kind, CategoricalDistribution):
        texts = ",".join(override_text("key", choice).partition("=")[2] for choice in kind.choices)
        for text in (f"choice({texts})", texts):  # the one takes no null, the other keeps the quotes of a text
            if same(_read(text), list(kind.choices)):
                return text
        raise UserError(f"choices {list(kind.choices)!r}: Hydra's grammar has no text for one of these")
    assert isinstance(kind, FloatDistribution | IntDistribution)
    if isinstance(kind, IntDistribution):
        return f"int(interval({kind.low},{kind.high}))"
    return f"interval({float(kind.low)!r},{float(kind.high)!r})"


def _read(text: str) -> list[Any]:
    """The choices that a study records for the text of a sweep; none where Hydra cannot read it."""
    try:
        swept = parsed(f"key={text}").value()
    except HydraException:
        return []
    return [choice_of(element) for element in swept.list] if isinstance(swept, ChoiceSweep) else []


# ---- what a study may say


def signs_of(study: Study) -> dict[str, str]:
    """Key -> the sign before it: of keys that were searched although the program's config does not have them."""
    signs: dict[str, str] = {}
    for trial in trials_of(study):
        added: Any = trial.user_attrs.get(ADDED)
        said = added.items() if isinstance(added, dict) else ()
        signs |= {str(name): sign for name, sign in said if sign in ("+", "++")}
        signs |= {n.lstrip(SIGNS): n[: len(n) - len(n.lstrip(SIGNS))] for n in trial.params if n.startswith("+")}
    return signs


def check_admitted(study: Study, points: Sequence[Point], space: Space, typed: Sequence[str]) -> None:
    """UserError for a parameter, or a choice, that a study may not say to a program: code, Hydra's keys, paths.

    What was typed here, for a run of the study or as one of ``typed``, may be a path.
    """
    paths: list[str] = []
    for name, value in _said(points, space):
        override = override_text(name, value)
        if why := refusal(override, own=False):
            raise UserError(f"study {study.study_name}: {in_a_line(override)}: {why}")
        if _names_a_path(meant(value)) and override not in (*typed, *paths):
            paths.append(override)
    here = {override.lstrip(SIGNS) for override in typed_here(study.study_name)} if paths else set()
    if left := [override for override in paths if override not in here]:
        text = f"overrides={hydra_value([*typed, *left])}"
        line = shlex.quote(text) if any(mark in text for mark in '"$`\\!') else f'"{text}"'
        raise UserError(
            f"study {study.study_name}: {in_a_line(left[0])}: it may be a path, and no run folder of the study here "
            f"says that it was typed here; if that is right, type it: {line}"
        )


def _said(points: Sequence[Point], space: Space) -> list[tuple[str, Any]]:
    of_points = [(name, value) for point in points if point.trial is not None for name, value in point.params.items()]
    choices = [(n, choice) for n, d in space.items() if isinstance(d, CategoricalDistribution) for choice in d.choices]
    return [*of_points, *choices]


def _names_a_path(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_names_a_path(inner) for inner in value.values())
    if isinstance(value, list):
        return any(map(_names_a_path, value))
    if not isinstance(value, str):
        return False
    return any(mark in value for mark in "/\\") or value.startswith(("~", "..")) or os.path.exists(value)
