"""What a report is about: its runs with where they come from, the points, and the rules by which they are judged.

The inputs stand in report.json beside the figures: they are all that computing the figures again needs, with the runs.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mdaf.conf.schema import Criteria, Pace, Phase4, Tiers
from mdaf.data.inspecting.trivial_rules import IN_WORDS
from mdaf.multirun.analysis.report_data.inputs import (
    CONFIRMATION,
    PHASE_4,
    SEARCH,
    CandidateInput,
    Change,
    Inputs,
    Looks,
    ReportPoint,
    SearchTrial,
)
from mdaf.multirun.analysis.report_data.json_form import from_json
from mdaf.multirun.analysis.report_data.sources import Source, TrivialRule, check_agreement
from mdaf.multirun.phase4.candidates import Named
from mdaf.multirun.phase4.design import Design
from mdaf.multirun.phase4.known import SEARCHED
from mdaf.multirun.phase4.plan import Series, search_seeds
from mdaf.multirun.phase4.points import checked, differences, point_hash
from mdaf.sweeper.job.criteria import are_meant, is_the_research
from mdaf.sweeper.runs.reader import own_checkpoint, read_finished_run, read_run
from mdaf.sweeper.study.queries import trials_of
from mdaf.sweeper.trials.admitted import run_folder
from mdaf.sweeper.trials.feasibility import is_feasible
from mdaf.sweeper.trials.user_attrs import POINT

RULES = ("alpha", "resamples", "pace", "tiers")


@dataclass(frozen=True, kw_only=True)
class Stages:
    """What was run: the study, its candidates, the runs of confirmation and those of Phase 4, and how it was designed.

    ``looks``  at the question, None where every pair was compared once.
    ``forced``  preconditions that were not met; ``search_epochs``: of the study's trials.
    """

    study: Study
    candidates: list[CandidateInput]
    confirmation: list[Series]
    repeated: list[Series]
    design: Design
    named: Named
    looks: Looks | None
    forced: list[str]
    search_epochs: int


def phase4_inputs(cfg: DictConfig, stages: Stages, report: Path) -> Inputs:
    """The inputs of a study's report, which will lie in the folder ``report``."""
    study, points = stages.study, [one.point for one in stages.repeated]
    configs = {point.name: checked(point) for point in points}
    changes = differences(configs)
    winner = stages.named.winner
    named = next((p.name for p in points if point_hash(p) == point_hash(winner.point)), points[0].name)
    trials, searched = _search(study, report, [Path(cfg.reuse)])
    runs = [*searched, *_sources(stages, report)]
    first = next(iter(configs.values()))
    epochs, looks = first.training.epochs, stages.looks
    return Inputs(
        title=f"Phase 4 of {study.study_name}",
        study=study.study_name,
        winner=named,
        winner_trial=winner.point.trial,
        points=[
            ReportPoint(point.name, point.trial, list(point.overrides), _searched(configs[point.name]))
            for point in points
        ],
        changes=[Change(**change) for change in changes],
        candidates=stages.candidates,
        comparisons=_comparisons([point.name for point in points], looks),
        epochs=epochs,
        seeds={
            SEARCH: search_seeds(study),
            CONFIRMATION: list(cfg.confirm.seeds) if stages.confirmation else [],
            PHASE_4: list(stages.design.seeds[: looks.planned[-1]] if looks else stages.design.seeds),
        },
        failed={one.point.name: one.failed for one in stages.repeated if one.failed},
        failed_confirmation={one.point.name: one.failed for one in stages.confirmation if one.failed},
        trials=trials,
        criteria=criteria_of(first),
        **rules(cfg),
        runs=runs,
        rows=stages.design.rows,
        design=stages.design.name,
        margin=cfg.margin,
        looks=looks,
        claim=stages.named.claim(named),
        forced=stages.forced,
        judged=are_meant(first),
        research=all(map(is_the_research, configs.values())),
        search_epochs=stages.search_epochs if stages.search_epochs != epochs else None,
    )


def _comparisons(points: Sequence[str], looks: Looks | None) -> list[list[str]]:
    """All pairs; beside a question only it and what is compared with its first point."""
    if looks is None:
        return pairs(points)
    return [[looks.a, looks.b], *([looks.a, point] for point in points if point not in (looks.a, looks.b))]


def criteria_of(config: DictConfig) -> Criteria:
    """The success criteria of a run's config."""
    return from_json(Criteria, OmegaConf.to_container(config.criteria))


def rules(cfg: DictConfig) -> dict[str, Any]:
    """How runs are judged, from the config of ``python -m multirun``: these fields of ``Inputs``."""
    assert set(RULES) <= set(Phase4.__dataclass_fields__)
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    pace, tiers = from_json(Pace, plain["pace"]), from_json(Tiers, plain["tiers"])
    return {"alpha": plain["alpha"], "resamples": plain["resamples"], "pace": pace, "tiers": tiers}


def pairs(points: Sequence[str]) -> list[list[str]]:
    """Each point with each later one: of winner, balanced, weak, strong the six pairs."""
    return [[a, b] for index, a in enumerate(points) for b in points[index + 1 :]]


def source_of(folder: Path, stage: str, point: str, report: Path, study: str | None, trial: int | None) -> Source:
    """Where a finished run's figures come from; its id is stage, point and seed. UserError if its files disagree."""
    run = read_finished_run(folder)
    check_agreement(run)
    result = run.result
    return Source(
        id=f"{stage}/{point}/seed-{result['seed']}",
        stage=stage,
        point=point,
        seed=result["seed"],
        folder=os.path.relpath(folder.absolute(), report.absolute()),
        study=study,
        trial=trial,
        config_hash=result["config_hash"],
        data_hash=result["data_hash"],
        commit=result["commit"],
        device=result["device"],
        splits=result.get("splits", ""),
        trivial_rule=trivial_rule_of(result),
        checkpoint=""
        if stage == SEARCH
        else own_checkpoint(folder, result) or "",  # no figure of a search comes from it
    )


def trivial_rule_of(result: Mapping[str, Any]) -> TrivialRule | None:
    """What a run's result.json says of the best trivial rule; None where it says nothing that can be read."""
    said = result.get("trivial_rule", {})
    value = said.get("val_auc")
    if said.get("rule") not in IN_WORDS or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return TrivialRule(said["rule"], float(value)) if 0 <= value <= 1 else None


def _sources(stages: Stages, report: Path) -> Iterable[Source]:
    for stage, series in ((CONFIRMATION, stages.confirmation), (PHASE_4, stages.repeated)):
        for one in series:
            for seed in sorted(one.done):
                yield source_of(one.done[seed], stage, one.point.name, report, stages.study.study_name, one.point.trial)


def _search(study: Study, report: Path, roots: Sequence[Path]) -> tuple[list[SearchTrial], list[Source]]:
    """The study's trials, and the sources of those whose complete runs are here."""
    rows, sources = [], []
    for trial in trials_of(study):
        folder = _complete_run(trial, roots)
        source = None
        if folder is not None:
            source = source_of(folder, SEARCH, f"trial-{trial.number}", report, study.study_name, trial.number)
            sources.append(source)
        rows.append(
            SearchTrial(
                trial=trial.number,
                state=trial.state.name,
                params=dict(trial.params),
                value=trial.values[0] if trial.values and math.isfinite(trial.values[0]) else None,
                eligible=trial.state is TrialState.COMPLETE and is_feasible(trial),
                known=trial.user_attrs.get(POINT),
                run=source.id if source else None,
            )
        )
    return rows, sources


def _complete_run(trial: FrozenTrial, roots: Sequence[Path]) -> Path | None:
    """The folder of a trial's complete run, if it is on this machine and is still that trial's."""
    folder = run_folder(trial.user_attrs.get("run_dir"), roots)
    if folder is None:
        return None
    if not (folder / "metrics.csv").is_file():
        return None
    run = read_run(folder)
    if not run.is_complete or run.result.get("trial") != trial.number:
        return None
    # Another study's trial of that number, if the two shared a folder; not by its name, which may have been changed.
    said = trial.user_attrs.get("config_hash", run.result.get("config_hash"))
    return folder if run.result.get("config_hash") == said else None


def _searched(config: DictConfig) -> dict[str, float]:
    return {key: float(OmegaConf.select(config, key)) for key in SEARCHED}
