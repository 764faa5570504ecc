"""Phase 4: from a study's best trials to runs over seeds. Runs that are there already are not repeated."""

from __future__ import annotations

import json
import logging
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from mdaf.conf.schema import Pace
from mdaf.errors import UserError
from mdaf.multirun.analysis.judging.pace import slow_epochs
from mdaf.multirun.phase4.points import Finished, Point, checked, composed, configs, point_hash
from mdaf.multirun.phase4.side_by_side import Command, run, slots
from mdaf.multirun.phase4.unfinished import make_way
from mdaf.naming.config_keys import check_keys
from mdaf.processes.children import SECONDS_TO_SAVE, Child, pass_interruption_on
from mdaf.sweeper.command_line import check_option
from mdaf.sweeper.hydra_ext.configs.sources import ORIGIN, is_ours, rerun_command
from mdaf.sweeper.hydra_ext.overrides import hydra_value, key_of, meant, parsed, same
from mdaf.sweeper.hydra_ext.run_config import check_tracker
from mdaf.sweeper.runs.metric_columns import MONITOR
from mdaf.sweeper.runs.reader import RecordedRun, read_finished_run
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.study.consistency import AttributeOnly, check_trial, objectives_of
from mdaf.sweeper.study.queries import load_studies, load_study, most_recent_study, trials_of
from mdaf.sweeper.study.winners import best_records, rerun_overrides
from mdaf.sweeper.trials.admitted import run_folder, sorted_out
from mdaf.sweeper.trials.points.space import effective_value
from mdaf.sweeper.trials.user_attrs import RACE_SEEDS
from mdaf.terminal.programs import SCRIPTS, here

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Winner:
    """A study's best trial, as the overrides that repeat it, the seed left out.

    ``expected``  of a point that was raced: the posterior mean over all runs of the study, and its standard deviation.
    """

    study: str
    number: int
    value: float
    overrides: tuple[str, ...]
    refused: dict[str, str] = field(default_factory=dict)  # what else the study says of it, each with why it may not
    expected: tuple[float, float] | None = None


@dataclass
class Series:
    """A point on its seeds: the folder of each run that is finished, and the seeds that are missing or failed."""

    point: Point
    done: dict[int, Path] = field(default_factory=dict)
    missing: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)


def open_study(storage_url: str, study_name: str | None) -> Study:
    """The study to judge. UserError if the storage holds none of that name, or it has several objectives."""
    storage = open_storage(storage_url, create=False, read_only=True)
    study = load_study(storage, study_name) if study_name else most_recent_study(load_studies(storage))
    refuse_of_another(study)
    if len(study.directions) > 1:
        raise UserError(f"study {study.study_name!r} has several objectives, so no single winner; name one objective")
    if (metric := objectives_of(study)[0]) != MONITOR or study.direction is not StudyDirection.MAXIMIZE:
        raise UserError(
            f"study {study.study_name!r} {study.direction.name.lower()}s {metric}, and Phase 4 compares AUCs; sweep "
            "with sweep.objectives=[val_auc], which leaves training.monitor as it is"
        )
    return study


def refuse_of_another(study: Study) -> None:
    """UserError where another program swept the study. What it says of that program is shown and never run."""
    origin = study.user_attrs.get(ORIGIN)
    if is_ours(origin):
        return
    words = [f"study={hydra_value(study.study_name)}", f"program={rerun_command(origin, [])}"]
    raise UserError(
        f"study {study.study_name} was swept by another program, which runs only if it is typed; by the study's own "
        f"word that is {here(SCRIPTS['multirun'])} {shlex.join(words)}"
    )


def best_trials(study: Study, top: int) -> list[Winner]:
    """The best completed trials, the best first. UserError if there is none."""
    return [
        Winner(
            study.study_name,
            record["number"],
            record["value"],
            tuple(override for override in record["overrides"] if key_of(override) != "seed"),
            record["left_out"],
            _expected(record.get("point")),
        )
        for record in best_records(study, top=top)
    ]


def _expected(point: Mapping[str, Any] | None) -> tuple[float, float] | None:
    return None if point is None else (point["posterior_mean"], point["posterior_sd"])


def search_seeds(study: Study, *, declared: bool = False) -> list[int]:
    """The seeds of the study's trials; with ``declared`` also those that a race may still train on."""
    raced = study.user_attrs.get(RACE_SEEDS) if declared else None
    more = {seed for seed in raced if isinstance(seed, int)} if isinstance(raced, list) else set()
    return sorted({trial.user_attrs["seed"] for trial in trials_of(study) if "seed" in trial.user_attrs} | more)


def check_preconditions(
    study: Study, numbers: Sequence[int], planned: int, pace: Pace, roots: Sequence[Path] = ()
) -> list[str]:
    """What the research asks for before Phase 4 and is not met, in words; empty if all is.

    A run of all its epochs without slow-down, and trials ``numbers`` whose configuration was what the study says. Runs
    whose folders lie elsewhere are judged by nothing: that is said too.
    """
    unmet = []
    for trial in (trial for trial in trials_of(study) if trial.number in numbers):
        if trained_otherwise(trial, study.study_name):
            unmet.append(f"a validated configuration: trial {trial.number} trained other values than the study says")
        elif wrong := [one for one in check_trial(study, trial, roots) or [] if not isinstance(one, AttributeOnly)]:
            unmet.append(f"a study that says what its runs left ({wrong[0]})")
    runs = [
        run for trial in trials_of(study, TrialState.COMPLETE) if (run := _finished_run_of(trial, roots)) is not None
    ]
    complete = [run for run in runs if len(run.history) >= planned]
    if not complete:
        unmet.append(f"a complete run: none of the study's run folders that are here holds {planned} epochs")
    elif all(slow_epochs(run.history, pace) for run in complete):
        unmet.append("a run without slow-down: each complete run of the study has an epoch that took far longer")
    return unmet


def trained_otherwise(trial: FrozenTrial, study: str) -> list[str]:
    """The parameters of which a trial's job said that it trained another value than a rerun of the trial would.

    A mapping may be a part of what was trained, and an interpolation resolves to it: then the rerun's config decides.
    """
    said = trial.user_attrs.get("effective")
    said = said if isinstance(said, dict) else {}
    names = [name for name, value in trial.params.items() if name in said and not same(said[name], meant(value))]
    if not names:
        return []
    try:
        config = composed(sorted_out(rerun_overrides(trial), study)[0])
    except HydraException:
        return names
    return [name for name in names if not same(said[name], _as_json(effective_value(config, {}, name)))]


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _finished_run_of(trial: FrozenTrial, roots: Sequence[Path]) -> RecordedRun | None:
    """The run of a trial, if its folder is here and it has ended."""
    folder = run_folder(trial.user_attrs.get("run_dir"), roots)
    return read_finished_run(folder) if folder is not None and (folder / "result.json").is_file() else None


def epoch_seconds(study: Study) -> float | None:
    """The median time of an epoch over the study's trials."""
    times = [trial.user_attrs["epoch_seconds"] for trial in trials_of(study) if "epoch_seconds" in trial.user_attrs]
    return statistics.median(times) if times else None


def plan(points: Sequence[Point], seeds: Sequence[int], roots: Sequence[Path]) -> list[Series]:
    """Which runs of these points on these seeds are there, anywhere below ``roots``, and which are missing."""
    finished = Finished(*roots)
    finished.digest([(point, seed) for point in points for seed in seeds])
    series = []
    for point in points:
        one = Series(point)
        for seed in seeds:
            folder = finished.find(point, seed)
            if folder is None:
                one.missing.append(seed)
            else:
                one.done[seed] = folder
        series.append(one)
    return series


def run_missing(series: Sequence[Series], roots: Sequence[Path], launcher: str | None = None) -> None:
    """Trains what is missing. A seed that fails is said and left out; UserError if a point has no run at all.

    Points that are the same configuration under two names share their runs. Where there are several GPUs, different
    points are trained side by side.
    """
    tried = _side_by_side(series, roots, launcher)
    for one in series:
        folder = tried.get(one.point.name, one.point.folder)
        seeds = plan([one.point], one.missing, roots)[0]  # another point may have left it meanwhile
        one.done |= seeds.done
        if seeds.missing and one.point.name not in tried:
            folder = make_way(one.point, seeds.missing)
            launch(_with_seeds(seeds), folder, launcher)
            one.done |= plan([one.point], seeds.missing, roots)[0].done
        one.failed = [seed for seed in one.missing if seed not in one.done]
        one.missing = []
        if one.failed:
            log.warning("%s: no finished run for seed %s", one.point.name, ", ".join(map(str, one.failed)))
        if not one.done:
            raise UserError(
                f"{one.point.name}: every seed failed, the errors stand above and in "
                f"{folder}/seed-*/train.log; mend the cause and type the same command again"
            )


def _side_by_side(series: Sequence[Series], roots: Sequence[Path], launcher: str | None) -> dict[str, Path]:
    """Trains what is missing of different points at once, each on GPUs of its own; their names and folders.

    Nothing of that with one point, or with one GPU that has too little memory for two.
    """
    waiting: dict[str, Series] = {}
    for one in (one for one in series if one.missing):
        [left] = plan([one.point], one.missing, roots)
        if left.missing:
            waiting.setdefault(point_hash(one.point), left)
    lefts = list(waiting.values())
    if len(lefts) < 2 or len(given := slots(len(lefts), checked(lefts[0].point), launcher)) < 2:
        return {}
    folders = {left.point.name: make_way(left.point, left.missing) for left in lefts}
    words = [command_of(_with_seeds(left), folders[left.point.name], launcher) for left in lefts]
    run([Command(left.point.name, of) for left, of in zip(lefts, words, strict=True)], given)
    return folders


def _with_seeds(series: Series) -> list[str]:
    return [*series.point.overrides, f"seed={','.join(map(str, series.missing))}"]


_tracker: tuple[str, ...] = ()


def track(overrides: Sequence[str]) -> None:
    """Starts runs from now on with these overrides of their tracker.

    UserError for an override of anything else, and for what a run would refuse: an option, a key or a value.
    """
    global _tracker
    for override in overrides:
        if key_of(override).partition(".")[0] != "tracker":
            raise UserError(f"run_tracker: found {override}, expected overrides of the tracker such as tracker=mlflow")
        if parsed(override).key_or_group == "tracker" and not configs().words():  # whose folders may have others
            check_option(parsed(override))
    if overrides:
        config = composed(overrides)
        check_keys(config)
        check_tracker(config)
    _tracker = tuple(overrides)


def launch(overrides: Sequence[str], home: Path, launcher: str | None = None) -> int:
    """One Hydra multirun in a process of its own, the very command a user would type; its exit code.

    A job that fails leaves the others to run; one that an earlier command left unfinished goes on. Interrupted if it
    was, and then it is over.
    """
    process = start(command_of(overrides, home, launcher))
    try:
        code = process.wait()
    finally:
        process.end(SECONDS_TO_SAVE)
    pass_interruption_on(code)
    return code


def command_of(overrides: Sequence[str], home: Path, launcher: str | None = None) -> list[str]:
    """The words of a Hydra multirun whose runs lie in ``home``, a folder for each seed."""
    where = [f"hydra.sweep.dir={hydra_value(str(home))}", "hydra.sweep.subdir=seed-${seed}"]
    chosen = [f"hydra/launcher={launcher}"] if launcher else []
    program = [sys.executable, "-m", "mdaf.sweeper", "-m", *configs().words()]
    return [*program, *overrides, *_tracker, *where, *chosen, "~hydra.callbacks.table", "resume=auto"]


def start(command: Sequence[str]) -> Child:
    """The process of a command, which leaves when this one does."""
    return Child(command)


@dataclass(frozen=True)
class Expected:
    """Runs that a question takes in all, and those of them that are missing: at least, and at most."""

    least: int
    most: int
    missing_least: int
    missing_most: int


@dataclass(frozen=True)
class AskedPlan:
    """A question in words, and the runs that it takes."""

    title: str
    expected: Expected


def missing_runs(stages: Mapping[str, Sequence[Series]], asked: AskedPlan | None = None) -> tuple[int, int]:
    """How many runs are missing in all, at least and at most."""
    left = sum(len(one.missing) for series in stages.values() for one in series)
    if asked is None:
        return left, left
    return left + asked.expected.missing_least, left + asked.expected.missing_most


def describe_plan(
    stages: Mapping[str, Sequence[Series]], epochs: int, seconds: float | None, asked: AskedPlan | None = None
) -> str:
    """How many runs each stage needs, how many are there, and about how long the rest takes."""
    lines = []
    least, most = missing_runs(stages, asked)
    for stage, series in stages.items():
        if not series:
            continue
        total = sum(len(one.done) + len(one.missing) for one in series)
        left = sum(len(one.missing) for one in series)
        names = ", ".join(one.point.name for one in series)
        lines.append(f"{stage}: {names}; {total} runs of {epochs} epochs, {total - left} are there already")
    if asked is not None:
        found = asked.expected
        there = _range(found.least - found.missing_least, found.most - found.missing_most)
        runs = _range(found.least, found.most)
        lines.append(f"Phase 4: {asked.title}; {runs} runs of {epochs} epochs, {there} are there already")
    missing = _range(least, most)
    if most and seconds is not None:
        shortest, longest = (count * epochs * seconds / 60 for count in (least, most))
        lines.append(
            f"about {_range(round(shortest), round(longest))} min for the {missing} that are missing, at the "
            f"{seconds:.1f} s an epoch that the study's trials took"
            if longest >= 1
            else f"less than a minute for the {missing} that are missing"
        )
    elif most:
        lines.append(f"{missing} runs are missing; the study does not say how long an epoch takes")
    return "\n".join(lines)


def _range(least: int, most: int) -> str:
    return str(most) if least == most else f"{least} to {most}"
