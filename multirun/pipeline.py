"""From a study to its verdict, stage by stage: plan, confirmation, Phase 4, scores, figures, report.

Every stage asks the disk what is there already, so a command that was interrupted goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from optuna.study import Study

from mdaf.conf.schema import Pace
from mdaf.errors import UserError
from mdaf.multirun.analysis.confirmation import check_disjoint
from mdaf.multirun.analysis.judging.versions import of_other_code
from mdaf.multirun.analysis.report_data.inputs import Looks
from mdaf.multirun.analysis.rows.scores import score_runs
from mdaf.multirun.analysis.wording import several
from mdaf.multirun.asking import ask_to_start
from mdaf.multirun.phase4 import plan
from mdaf.multirun.phase4.candidates import (
    Candidate,
    Named,
    find_candidates,
    name_winner,
    points_of_design,
    question_of,
    raced,
    search_epochs,
)
from mdaf.multirun.phase4.design import Design, design_of
from mdaf.multirun.phase4.inquiry import Inquiry
from mdaf.multirun.phase4.looks_made import LooksMade, Question, planned
from mdaf.multirun.phase4.overrides import check_origin
from mdaf.multirun.phase4.plan import Series
from mdaf.multirun.phase4.points import Point, composed, configs, hashes
from mdaf.multirun.report.inputs import Stages, phase4_inputs
from mdaf.multirun.report.writer import write_beside_others
from mdaf.naming.studies import folder_of
from mdaf.sweeper.runs.lock import locked
from mdaf.sweeper.runs.provenance import commit
from mdaf.sweeper.runs.reader import IDENTITY, read_run
from mdaf.sweeper.runs.test_reads import reads_of_test
from mdaf.terminal.counting import Runs
from mdaf.terminal.tables import console


@dataclass(frozen=True)
class Setting:
    """What a command is about: the study, what was typed, the design, and where everything lies."""

    cfg: DictConfig
    study: Study
    design: Design
    home: Path
    candidates: Sequence[Candidate]
    forced: Sequence[str]

    @property
    def roots(self) -> tuple[Path, Path]:
        """Below which finished runs are taken."""
        return self.home, Path(self.cfg.reuse)

    @property
    def report(self) -> Path:
        """The report's folder, and that of the log of what read the test split."""
        return self.home / "report"


def decide(cfg: DictConfig) -> Path:
    """Takes a study to its report and returns the report's folder; UserError says what is missing.

    Nothing is trained before the plan was shown and agreed to, nor while another process takes the study there.
    """
    plan.track(cfg.run_tracker)
    study = plan.open_study(cfg.storage, cfg.study)
    check_origin(study, cfg.overrides, configs())
    design = design_of(cfg)
    home = Path(cfg.folder) / folder_of(study.study_name)
    candidates = find_candidates(study, cfg, home)
    setting = Setting(cfg, study, design, home, candidates, check(study, cfg, design, candidates))
    confirmed = cfg.confirm.top and not raced(candidates)
    confirmation = plan.plan([c.point for c in candidates], cfg.confirm.seeds, setting.roots) if confirmed else []
    # Until confirmation has run, nobody knows the winner, and the best trial stands for it.
    known = [] if any(one.missing for one in confirmation) else confirmation
    named = name_winner(candidates, known)
    agree(setting, confirmation, named)
    home.mkdir(parents=True, exist_ok=True)
    with locked(home), _shown(setting, confirmation, named) as runs:
        return _decided(setting, confirmation, runs)


def _shown(setting: Setting, confirmation: Sequence[Series], named: Named) -> Runs:
    """The block with the status of the runs, on a terminal."""
    stages, asked = stages_of(setting, confirmation, named)
    least, most = plan.missing_runs(stages, asked)
    there = _ended_below(setting.home)
    title = ("Phase 4", f"of study {setting.study.study_name}")
    return Runs(title, lambda: _ended_below(setting.home) - there, least, most, others=True)


def _ended_below(folder: Path) -> int:
    return sum(1 for _ in folder.rglob("result.json"))


def _decided(setting: Setting, confirmation: Sequence[Series], runs: Runs) -> Path:
    """Trains what is missing, and writes the report; its folder."""
    cfg = setting.cfg
    runs.say("confirmation" if any(one.missing for one in confirmation) else "")
    plan.run_missing(confirmation, setting.roots, cfg.launcher)
    named = name_winner(setting.candidates, confirmation)
    points = points_of_design(setting.design, named, setting.study)
    looks = None
    if (inquiry := inquiry_of(setting, points, named)) is not None:
        repeated = inquiry.ask(cfg.launcher, lambda folders: _score(setting, folders), runs.say)
        looks = _looks(setting, points, named, inquiry)
    else:
        repeated = plan.plan(points, setting.design.seeds, setting.roots)
        runs.say("training")
        plan.run_missing(repeated, setting.roots, cfg.launcher)
        runs.say("scoring")
        _score(setting, [folder for one in repeated for folder in one.done.values()])
    stages = Stages(
        study=setting.study,
        candidates=[c.as_input() for c in setting.candidates] if confirmation else [],
        confirmation=list(confirmation),
        repeated=repeated,
        design=setting.design,
        named=named,
        looks=looks,
        forced=list(setting.forced),
        search_epochs=search_epochs(setting.study, cfg),
    )
    runs.say("computing the figures of the report")
    folder, _ = write_beside_others(
        setting.report, lambda report: phase4_inputs(cfg, stages, report), reads_of_test(setting.report)
    )
    return folder


def _score(setting: Setting, folders: Sequence[Path]) -> None:
    score_runs(folders, setting.design.rows, setting.report)  # one log of reads for all reports on the study


def inquiry_of(setting: Setting, points: Sequence[Point], named: Named) -> Inquiry | None:
    """The question that these points are run for; None where every pair is compared once.

    UserError if it was looked at under another plan before, unless that is forced.
    """
    design = setting.design
    if design.plan is None:
        return None
    question = question_of(points, named)
    made = _looks_made(setting, question)
    if (others := made.other_plans()) and not setting.cfg.force:
        raise UserError(
            f"looks: {question[0].name} and {question[1].name} were looked at with {others[-1]} before. Another plan "
            "after a look makes a false verdict more likely than alpha. Type the plan of before, or go on all the "
            "same: force=true, and the report says so"
        )
    secondary = [point for point in points if point not in question]
    return Inquiry(
        question, secondary, design.plan, design.seeds, made, design.rows, setting.cfg.resamples, setting.roots
    )


def _looks_made(setting: Setting, question: tuple[Point, Point]) -> LooksMade:
    design = setting.design
    assert design.plan is not None
    a, b = ("/".join(hashes(point, seed=0)) for point in question)  # of any seed: what differs is the points
    challenger, balanced = question
    epochs = composed(challenger.overrides).training.epochs
    names = [f"trial-{challenger.trial}", f"{balanced.name} at {several(epochs, 'epoch')}"]
    plan_now = planned(design.plan, design.seeds, design.rows)
    return LooksMade(setting.home, Question(a, b), names, plan_now, setting.roots)


def _looks(setting: Setting, points: Sequence[Point], named: Named, inquiry: Inquiry) -> Looks:
    assert setting.design.plan is not None
    question = question_of(points, named)
    made = _looks_made(setting, question)
    a, b = question
    return Looks(
        a=a.name,
        b=b.name,
        planned=list(setting.design.plan.looks),
        futility=setting.design.plan.futility,
        made=inquiry.made(),
        other_plans=made.other_plans(),
        other_questions=made.other_questions(),
    )


def check(study: Study, cfg: DictConfig, design: Design, candidates: Sequence[Candidate]) -> list[str]:
    """UserError where seeds overlap, or a precondition of the research is not met; those that ``force`` goes past."""
    confirmed = cfg.confirm.top and not raced(candidates)
    confirmation = list(cfg.confirm.seeds) if confirmed else []
    if confirmed and (not confirmation or len(set(confirmation)) != len(confirmation)):
        raise UserError(f"confirm.seeds: found {confirmation}, expected one or more, each once")
    check_disjoint(plan.search_seeds(study, declared=True), confirmation, list(design.seeds))
    planned_epochs = composed(candidates[0].point.overrides).training.epochs if cfg.epochs is None else cfg.epochs
    numbers = [candidate.point.trial for candidate in candidates if candidate.point.trial is not None]
    pace = Pace(**OmegaConf.to_container(cfg.pace))  # type: ignore[arg-type]
    unmet = plan.check_preconditions(study, numbers, planned_epochs, pace, [Path(cfg.reuse)])
    if unmet and not cfg.force:
        raise UserError(f"Phase 4 may not start, it lacks {'; '.join(unmet)}. Mend that, or start anyway: force=true")
    return unmet


def stages_of(
    setting: Setting, confirmation: Sequence[Series], named: Named
) -> tuple[dict[str, Sequence[Series]], plan.AskedPlan | None]:
    """The series of each stage, and the question whose runs depend on what its looks find, if there is one."""
    points = points_of_design(setting.design, named, setting.study)
    inquiry = inquiry_of(setting, points, named)
    if inquiry is not None:
        return {"confirmation": confirmation}, plan.AskedPlan(inquiry.title, inquiry.expected())
    repeated = plan.plan(points, setting.design.seeds, setting.roots)
    return {"confirmation": confirmation, "Phase 4": repeated}, None


def agree(setting: Setting, confirmation: Sequence[Series], named: Named) -> None:
    """Shows the plan and asks; SystemExit where the answer is no.

    Not where ``ask`` is false, nor where nothing is missing and one version of the code has trained all that is there.
    """
    points = points_of_design(setting.design, named, setting.study)
    stages, asked = stages_of(setting, confirmation, named)
    repeated = plan.plan(points, setting.design.seeds, setting.roots)
    seconds = plan.epoch_seconds(setting.study)
    console().print(plan.describe_plan(stages, composed(points[0].overrides).training.epochs, seconds, asked))
    every = [one for series in (confirmation, repeated) for one in series]
    reused = {folder: read_run(folder, IDENTITY).result["commit"] for one in every for folder in one.done.values()}
    if others := of_other_code(reused.values(), commit()):
        console().print(f"reused are {others}")
    missing = any(one.missing for series in stages.values() for one in series) or (
        asked and asked.expected.missing_most
    )
    if setting.cfg.ask and (missing or len(set(reused.values())) > 1):
        ask_to_start()
