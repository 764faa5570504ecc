"""From a study of another program to its verdict: plan, confirmation, Phase 4, figures, report.

Every stage asks the study database what is there already, so a command that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig
from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import TrialState

from mdaf.errors import UserError
from mdaf.multirun.analysis.confirmation import check_disjoint, distance
from mdaf.multirun.analysis.wording import listed
from mdaf.multirun.asking import ask_to_start
from mdaf.multirun.program.content import CONFIRMATION, PHASE_4, Inputs, Looks, Point, Report, Run
from mdaf.multirun.program.figures import confirmed
from mdaf.multirun.program.inquiry import Design, Inquiry, design_of
from mdaf.multirun.program.report import write_report
from mdaf.multirun.program.runs import Replicates, Series, check_admitted, signs_of
from mdaf.multirun.program.study import (
    Objective,
    baseline_of,
    best_points,
    check_seeds,
    objective_of,
    open_study,
    search_seeds,
    space_of,
    widened,
)
from mdaf.multirun.program.typed import Program, check_seed_key, seed_in
from mdaf.naming.studies import folder_of
from mdaf.sweeper.hydra_ext.overrides import SIGNS, same
from mdaf.sweeper.runs.lock import locked
from mdaf.sweeper.study.queries import trials_of
from mdaf.sweeper.study.winners import raced_points
from mdaf.sweeper.trials.compatibility import differences_from
from mdaf.terminal.counting import Runs
from mdaf.terminal.printable import in_a_line


@dataclass(frozen=True)
class Question:
    """What a verdict is on: the study, its objective, its best points and the baseline, and the program of its runs.

    ``confirm_seeds``  on which the best points are confirmed; none where they aren't.
    ``elsewhere``      below which there may be logs of looks beside its own.
    ``forced``         what ``force=true`` went past, in words.
    """

    study: Study
    objective: Objective
    candidates: list[Point]
    baseline: Point
    distances: dict[str, float]
    search_seeds: list[int] | None
    confirm_seeds: list[int]
    program: Program
    replicates: Replicates
    design: Design
    elsewhere: tuple[Path, ...]
    forced: list[str]

    @property
    def others(self) -> list[Point]:
        """The candidates without the baseline, the best of the sweep first."""
        return [point for point in self.candidates if point.name != self.baseline.name]


def decide(cfg: DictConfig) -> tuple[Path, Report]:
    """Takes a study to its report: the report's folder, and the report. UserError says what is missing.

    Nothing is run before the plan was shown and agreed to, nor while another process takes the study there.
    """
    question = ask(cfg)
    home = Path(cfg.folder) / folder_of(question.study.study_name)
    seeds = question.confirm_seeds
    confirmation = question.replicates.plan(question.candidates, seeds) if seeds else []
    # Nobody knows before the confirmation which point is compared with the baseline: the best trial stands for it.
    inquiry = inquiry_of(question, confirmation, home)
    inquiry.check_plan(force=cfg.force)
    agree(cfg, question, confirmation, inquiry)
    home.mkdir(parents=True, exist_ok=True)
    with locked(home), _shown(question, confirmation, inquiry):
        return _decided(cfg, question, home)


def _shown(question: Question, confirmation: Sequence[Series], inquiry: Inquiry) -> Runs:
    """The block with the status of the runs, on a terminal."""
    first, there = sum(len(one.missing) for one in confirmation), question.replicates.ended()
    least, most = inquiry.expected()
    title = ("verdict", f"on study {question.study.study_name}")
    return Runs(title, lambda: question.replicates.ended() - there, first + least, first + most, others=True)


def inquiry_of(question: Question, confirmation: Sequence[Series], home: Path) -> Inquiry:
    """The question about the point that confirmation names."""
    points = (_compared(question, confirmation), question.baseline)
    return Inquiry(points, question.design, question.replicates, home, question.elsewhere)


def ask(cfg: DictConfig) -> Question:
    """The question, checked before any work."""
    study = open_study(cfg.storage, cfg.study)
    objective = objective_of(study, None if cfg.objective is None else str(cfg.objective))
    space = space_of(study)
    check_seeds(cfg, study, space)
    design = design_of(cfg)
    program = Program.typed(cfg.program)
    # A race ran its points on several seeds, and names its winner itself.
    confirm_seeds = list(cfg.confirm.seeds) if cfg.confirm.top and not raced_points(study) else []
    best = best_points(study, objective, max(1, cfg.confirm.top))
    baseline = baseline_of(study, cfg.baseline, objective, space)
    candidates = [baseline if same(point.params, baseline.params) else point for point in best]
    if baseline not in candidates:
        candidates.append(baseline)
    if len(candidates) == 1:
        raise UserError(
            f"baseline: {baseline.name} is the best point of study {study.study_name} itself, and the only one that "
            "confirm.top asks for; expected another baseline, or confirm.top=2 or more"
        )
    check_admitted(study, candidates, space, list(cfg.overrides))
    folder = Path(cfg.folder) / folder_of(study.study_name) / "runs"
    replicates = Replicates(cfg.storage, study, objective, str(cfg.seed_key), space, signs_of(study), folder)
    config = program.config(replicates.point_overrides(candidates[0]))
    check_seed_key(config, replicates.seed_key, program)
    other = check_config(study, config, [*space, replicates.seed_key.lstrip(SIGNS)], program, force=cfg.force)
    seeds = search_seeds(study, seed_in(config, replicates.seed_key))
    check_disjoint(seeds or [], confirm_seeds, design.seeds)
    distances = _distances(candidates, baseline, space)
    return Question(
        study=study,
        objective=objective,
        candidates=candidates,
        baseline=baseline,
        distances=distances,
        search_seeds=seeds,
        confirm_seeds=confirm_seeds,
        program=program,
        replicates=replicates,
        design=design,
        elsewhere=(Path(cfg.folder), Path(cfg.reuse)),
        forced=other,
    )


def check_config(
    study: Study, config: DictConfig, besides: Sequence[str], program: Program, *, force: bool
) -> list[str]:
    """UserError where the program's config is not the one that the study's trials had, but for what is searched.

    With ``force`` the differences in words instead.
    """
    found = differences_from(study, config, besides)
    if force:
        return [f"the config that the study's trials had, which differs in {listed(list(found))}"] if found else []
    if not found:
        return []
    key, (ours, theirs) = next(iter(found.items()))
    others = [word for word in program.text.split() if word.lstrip(SIGNS).partition("=")[0] != key]
    typed = in_a_line(" ".join([*others, f"{key}={theirs}"]))
    raise UserError(
        f"program: {in_a_line(key)} is {in_a_line(str(ours))} in the config of {program.text}, but the trials of study "
        f"{study.study_name} had {in_a_line(str(theirs))}; if that is right, type it: "
        f'program="{typed}"; or compare under the new config: force=true'
    )


def _distances(points: Sequence[Point], baseline: Point, space: Mapping[str, BaseDistribution]) -> dict[str, float]:
    box = widened(dict(space), points)
    return {point.name: distance(point.params, baseline.params, box) for point in points}


def agree(cfg: DictConfig, question: Question, confirmation: Sequence[Series], inquiry: Inquiry) -> None:
    """Shows the plan and asks; SystemExit where the answer is no. Not where nothing is missing."""
    missing = sum(len(one.missing) for one in confirmation)
    if confirmation:
        total = sum(len(one.done) + len(one.missing) for one in confirmation)
        names = ", ".join(one.point.name for one in confirmation)
        print(f"confirmation: {names}; {total} runs, {total - missing} are there already")
    least, most = inquiry.expected()
    which = f"{least}" if least == most else f"{least} to {most}"
    against = "the point that confirmation names" if missing else _compared(question, confirmation).name
    looks = f", looked at after {listed(question.design.plan.looks)} pairs of seeds" if question.design.plan else ""
    print(f"Phase 4: {against} against {question.baseline.name}{looks}; {which} runs are missing")
    if missing + most:
        print(_how_long(question.study, missing + most))
    if cfg.ask and missing + most:
        ask_to_start()


def _how_long(study: Study, missing: int) -> str:
    times = [t.duration.total_seconds() for t in trials_of(study, TrialState.COMPLETE) if t.duration is not None]
    if not times:
        return f"{missing} runs are missing; the study does not say how long one takes"
    minutes = missing * statistics.median(times) / 60
    about = f"about {minutes:.0f} min" if minutes >= 1 else "less than a minute"
    return f"{about} at most, one run after the other, at the pace of the study's trials"


def _decided(cfg: DictConfig, question: Question, home: Path) -> tuple[Path, Report]:
    """Runs what is missing, and writes the report."""
    replicates, program, seeds = question.replicates, question.program, question.confirm_seeds
    confirmation = replicates.run_missing(program, question.candidates, seeds) if seeds else []
    forced = [*question.forced, *check_seeds_matter(question, confirmation, force=cfg.force)]
    inquiry = inquiry_of(question, confirmation, home)
    inquiry.check_plan(force=cfg.force)
    repeated = inquiry.answer(program)
    runs_of = replicates.load()
    assert runs_of is not None
    inputs = replace(_inputs(cfg, question, confirmation, repeated, inquiry.looks()), forced=forced)
    return write_report(home / "report", inputs, question.study, runs_of)


def check_seeds_matter(question: Question, confirmation: Sequence[Series], *, force: bool) -> list[str]:
    """UserError where no value of any point depends on the seed: most likely the program doesn't read that key.

    With ``force`` that in words instead.
    """
    values = [{tuple(trial.values) for trial in one.done.values()} for one in confirmation if len(one.done) > 1]
    if not values or any(len(found) > 1 for found in values):
        return []
    if force:
        return ["values that depend on the seed: each point has the same one on all seeds of confirmation"]
    key, value = question.replicates.seed_key.lstrip(SIGNS), next(iter(values[0]))[question.objective.index]
    raise UserError(
        f"seed_key: {key} changes nothing: each point has the same value on all seeds of confirmation, such as "
        f"{value:.6g}; expected the key that seeds a run of {question.program.text}. If its runs do not depend on "
        "chance at all, the sweep's own values say which point is better"
    )


def _compared(question: Question, confirmation: Sequence[Series]) -> Point:
    """The point that is compared with the baseline: the one that confirmation names.

    Where it names the baseline itself, the best mean of the others; the best trial where nothing was confirmed yet.
    """
    index = question.objective.index
    values = {one.point.name: {seed: t.values[index] for seed, t in one.done.items()} for one in confirmation}
    points = {point.name: point for point in question.others}
    if not any(values.get(name) for name in points) or not all(one.done for one in confirmation):
        return question.others[0]
    sign, near = question.objective.sign, question.baseline.name
    rows, found = confirmed(question.candidates, question.distances, values, sign, near)
    if found.winner != near:
        return points[found.winner]
    means = {row.name: sign * row.mean for row in rows if row.name in points}
    return points[max(means, key=lambda name: means[name])]


def _inputs(
    cfg: DictConfig,
    question: Question,
    confirmation: Sequence[Series],
    repeated: Sequence[Series],
    looks: Looks | None,
) -> Inputs:
    """What the report is about; the names of points are those under which they are compared."""
    study, replicates = question.study, question.replicates
    stages = {CONFIRMATION: confirmation, PHASE_4: repeated}
    return Inputs(
        title=f"Verdict on {study.study_name}",
        study=study.study_name,
        runs_of=replicates.name,
        program=question.program.text,
        objective=question.objective.name,
        index=question.objective.index,
        direction=question.objective.direction,
        seed_key=replicates.seed_key.lstrip(SIGNS),
        winner=repeated[0].point.name,
        baseline=question.baseline.name,
        points=question.candidates,
        candidates=[point.name for point in question.candidates],
        distances=question.distances,
        search_seeds=question.search_seeds,
        seeds={CONFIRMATION: question.confirm_seeds, PHASE_4: question.design.seeds},
        failed={
            f"{stage}/{one.point.name}": one.missing
            for stage, series in stages.items()
            for one in series
            if one.missing
        },
        alpha=cfg.alpha,
        margin=cfg.margin,
        looks=looks,
        runs=[
            Run(f"{stage}/{one.point.name}/seed-{seed}", stage, one.point.name, seed, trial.number)
            for stage, series in stages.items()
            for one in series
            for seed, trial in one.done.items()
        ],
        raced=bool(raced_points(study)),
        signs=dict(replicates.signs),
    )
