"""From a study to its verdict, stage by stage: plan, confirmation, Phase 4, scores, figures, report.

Every stage asks the disk what is there already, so a command that was interrupted goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mdaf.conf.schema import Pace
from mdaf.errors import UserError
from mdaf.multirun.analysis.confirmation import check_disjoint, confirm, distance
from mdaf.multirun.analysis.content import CandidateInput
from mdaf.multirun.analysis.scores import reads_of_test, score_runs
from mdaf.multirun.analysis.versions import of_other_code
from mdaf.multirun.asking import ask_to_start
from mdaf.multirun.phase4 import plan
from mdaf.multirun.phase4.overrides import check_origin, overrides_of
from mdaf.multirun.phase4.plan import Series, Winner
from mdaf.multirun.phase4.points import Point, composed, configs, known_point, known_values, point_hash, with_epochs
from mdaf.multirun.report.inputs import Stages, phase4_inputs
from mdaf.multirun.report.writer import write_beside_others
from mdaf.names import folder_of
from mdaf.sweeper.runs.lock import locked
from mdaf.sweeper.runs.provenance import commit
from mdaf.sweeper.runs.reader import IDENTITY, read_finished_run, read_run
from mdaf.sweeper.study.queries import find_trial, trials_of

BALANCED = "balanced"
WINNER = "winner"


@dataclass(frozen=True)
class Candidate:
    """A point that may win: its trial's value in the sweep, if it has a trial, and its distance from balanced."""

    point: Point
    sweep_value: float | None
    distance: float

    def as_input(self) -> CandidateInput:
        """As ``confirm`` and a report's inputs have it."""
        point = self.point
        return CandidateInput(point.name, point.trial, self.sweep_value, self.distance, list(point.overrides))


def decide(cfg: DictConfig) -> Path:
    """Takes a study to its report and returns the report's folder; UserError says what is missing.

    Nothing is trained before the plan was shown and agreed to, nor while another process takes the study there.
    """
    study = plan.open_study(cfg.storage, cfg.study)
    check_origin(study, cfg.overrides, configs())
    home = Path(cfg.folder) / folder_of(study.study_name)
    roots = (home, Path(cfg.reuse))
    candidates = find_candidates(study, cfg, home)
    check(study, cfg, candidates)
    confirmation = plan.plan([c.point for c in candidates], cfg.confirm.seeds, roots) if cfg.confirm.top else []
    if any(one.missing for one in confirmation):  # nobody knows the winner yet, so the best trial stands for it
        points = [_point_of(name, candidates[0].point, home) for name in cfg.points]
    else:
        points = points_of(cfg.points, named_winner(candidates, confirmation).point, home)
    planned = {"confirmation": confirmation, "Phase 4": plan.plan(points, cfg.seeds, roots)}
    agree(cfg, study, planned, composed(points[0].overrides))
    home.mkdir(parents=True, exist_ok=True)
    with locked(home):
        return _decided(cfg, study, candidates, confirmation, home)


def _decided(
    cfg: DictConfig, study: Study, candidates: Sequence[Candidate], confirmation: Sequence[Series], home: Path
) -> Path:
    """Trains what is missing, and writes the report; its folder."""
    roots = (home, Path(cfg.reuse))
    plan.run_missing(confirmation, roots, cfg.launcher)
    winner = named_winner(candidates, confirmation)
    repeated = plan.plan(points_of(cfg.points, winner.point, home), cfg.seeds, roots)
    plan.run_missing(repeated, roots, cfg.launcher)
    first = home / "report"
    folders = [folder for one in repeated for folder in one.done.values()]
    stages = Stages(study, [c.as_input() for c in candidates] if confirmation else [], list(confirmation), repeated)
    score_runs(folders, "validation", first)
    if cfg.test:
        score_runs(folders, "test", first)  # one log of reads for all reports on the study
    folder, _ = write_beside_others(
        first, lambda report: phase4_inputs(cfg, stages, winner.point, report), reads_of_test(first)
    )
    return folder


def find_candidates(study: Study, cfg: DictConfig, home: Path) -> list[Candidate]:
    """The study's best trials, the best first, then the balanced point unless it is one of them."""
    trials = plan.best_trials(study, max(1, cfg.confirm.top))
    points = [_trial_point(trial, cfg, home) for trial in trials]
    balanced = known_point(BALANCED, points[0], home)
    same = point_hash(balanced)
    reference = known_values(BALANCED)
    candidates = []
    for trial, point in zip(trials, points, strict=True):
        if point_hash(point) == same:
            point = replace(balanced, trial=trial.number)
        found = find_trial(study, trial.number)
        candidates.append(Candidate(point, trial.value, distance(found.params, reference, found.distributions)))
    if cfg.confirm.top and not any(candidate.point.name == BALANCED for candidate in candidates):
        tried = _trial_at(study, reference)
        if tried is not None:
            balanced = replace(balanced, trial=tried.number)
        candidates.append(Candidate(balanced, None if tried is None else tried.values[0], 0.0))
    return candidates


def _trial_at(study: Study, values: Mapping[str, float]) -> FrozenTrial | None:
    """The first complete trial that is exactly there and searched nothing else."""
    complete = trials_of(study, TrialState.COMPLETE)
    return next((trial for trial in complete if dict(trial.params) == dict(values)), None)


def _trial_point(trial: Winner, cfg: DictConfig, home: Path) -> Point:
    name = f"trial-{trial.number}"
    overrides = overrides_of(trial, cfg.overrides, configs())
    return Point(name, with_epochs(overrides, cfg.epochs), home / name, trial.number)


def points_of(names: Sequence[str], winner: Point, home: Path) -> list[Point]:
    """Phase 4's points by name; a known point that is the winner's own configuration goes by the known name alone."""
    found: dict[str, Point] = {}
    own = point_hash(winner)
    for name in names:
        point = _point_of(name, winner, home)
        key = point_hash(point)
        if not (name == WINNER and key in found):
            found[key] = replace(point, trial=winner.trial) if key == own else point
    return list(found.values())


def _point_of(name: str, winner: Point, home: Path) -> Point:
    return replace(winner, name=WINNER) if name == WINNER else known_point(name, winner, home)


def check(study: Study, cfg: DictConfig, candidates: Sequence[Candidate]) -> None:
    """UserError where seeds overlap, where a precondition of the research is not met, or a seed is there twice."""
    for key, seeds in (("seeds", cfg.seeds), ("confirm.seeds", cfg.confirm.seeds)):
        if not len(seeds) or len(set(seeds)) != len(seeds):
            raise UserError(f"{key}: found {list(seeds)}, expected one seed or more, each once")
    confirmation = list(cfg.confirm.seeds) if cfg.confirm.top else []
    check_disjoint(plan.search_seeds(study), confirmation, list(cfg.seeds))
    planned = composed(candidates[0].point.overrides).training.epochs if cfg.epochs is None else cfg.epochs
    numbers = [candidate.point.trial for candidate in candidates if candidate.point.trial is not None]
    pace = Pace(**OmegaConf.to_container(cfg.pace))  # type: ignore[arg-type]
    unmet = plan.check_preconditions(study, numbers, planned, pace, [Path(cfg.reuse)])
    if unmet and not cfg.force:
        raise UserError(f"Phase 4 may not start, it lacks {'; '.join(unmet)}. Mend that, or start anyway: force=true")


def agree(cfg: DictConfig, study: Study, stages: Mapping[str, Sequence[Series]], config: DictConfig) -> None:
    """Shows the plan and asks; SystemExit where the answer is no.

    Not where ``ask`` is false, nor where nothing is missing and one version of the code has trained all that is there.
    """
    print(plan.describe_plan(stages, config.training.epochs, plan.epoch_seconds(study)))
    every = [one for series in stages.values() for one in series]
    reused = {folder: read_run(folder, IDENTITY).result["commit"] for one in every for folder in one.done.values()}
    if others := of_other_code(reused.values(), commit()):
        print(f"reused are {others}")
    if not cfg.ask or not (any(one.missing for one in every) or len(set(reused.values())) > 1):
        return
    ask_to_start()


def named_winner(candidates: Sequence[Candidate], confirmation: Sequence[Series]) -> Candidate:
    """The candidate that its confirmed mean names; without confirmation the study's best."""
    if not confirmation:
        return candidates[0]
    values = {
        one.point.name: {seed: float(read_finished_run(folder).best["val_auc"]) for seed, folder in one.done.items()}
        for one in confirmation
    }
    name = confirm([candidate.as_input() for candidate in candidates], values, near=BALANCED).winner
    return next(candidate for candidate in candidates if candidate.point.name == name)
