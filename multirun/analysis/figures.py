"""All figures of a report, computed from what the runs left: the same function writes a report and verifies it."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mdaf.multirun.analysis.comparisons import ComparedPair
from mdaf.multirun.analysis.confirmation import confirm, pooled_sd
from mdaf.multirun.analysis.decided import Decided
from mdaf.multirun.analysis.deltas import delta_table, ranking
from mdaf.multirun.analysis.judging.criteria import assess
from mdaf.multirun.analysis.judging.pace import slow_epochs
from mdaf.multirun.analysis.judging.validity import Evidence, analyses, share_of_plan, sufficiency
from mdaf.multirun.analysis.report_data.content import (
    CandidateFigures,
    ClaimFigures,
    ConfigurationFigures,
    ConfirmationFigures,
    CriteriaFigures,
    DeltaTable,
    EvidenceFigures,
    Figures,
    Infrastructure,
    RankFigures,
    RunFigures,
    RunTimes,
    SearchFigure,
)
from mdaf.multirun.analysis.report_data.inputs import CONFIRMATION, PHASE_4, SEARCH, Inputs
from mdaf.multirun.analysis.report_data.sources import Source, check_same_data
from mdaf.multirun.analysis.rows.roc import roc_auc
from mdaf.multirun.analysis.rows.scores import read_scores
from mdaf.multirun.analysis.statistics import Spread, spread
from mdaf.streams import stream_seed
from mdaf.sweeper.runs.metric_columns import CURVES, MONITOR, ON_TEST, OVER_SEEDS, column, ranking_in
from mdaf.sweeper.runs.reader import RecordedRun, read_finished_run
from mdaf.sweeper.training.evaluating.metrics import calibration_error, log_loss

Runs = Mapping[str, RecordedRun]  # by the id of their source
Repeated = Mapping[str, Mapping[int, str]]  # configuration of Phase 4 -> seed -> id of the run

BASELINES = ("weak", "strong")  # the regularization of Phase 1 and Phase 3


def compute(inputs: Inputs, base: Path) -> Figures:
    """Every figure of the report, from the runs that ``inputs`` name, whose folders are relative to ``base``.

    Raises UserError if a run is missing or damaged.
    """
    sources = inputs.runs
    check_same_data({source.data_hash: base / source.folder for source in sources})
    runs = {source.id: read_finished_run(base / source.folder) for source in sources}
    phase4 = _by_point([source for source in sources if source.stage == PHASE_4])
    on_test = {source.id: _on_test(runs[source.id]) for source in sources if source.stage == PHASE_4}
    configurations = {point: _configuration(point, seeds, runs, on_test) for point, seeds in phase4.items()}
    confirmation = _confirmation(inputs, runs)
    decided = Decided(inputs, phase4, runs, on_test)
    comparisons = decided.comparisons()
    return Figures(
        search=_search(inputs, runs),
        runs={source.id: _run_figures(runs[source.id], on_test.get(source.id, {})) for source in sources},
        confirmation=confirmation,
        configurations=configurations,
        comparisons=comparisons,
        **_deltas_and_ranking(decided.pairs, phase4, runs),
        criteria={
            point: _criteria(inputs, list(seeds.values()), runs) for point, seeds in phase4.items() if inputs.judged
        },
        infrastructure=_infrastructure(inputs, runs),
        evidence=_evidence(inputs, phase4, runs, comparisons),
        decision=decided.question(),
        claim=_claim(inputs, confirmation, configurations),
        noise=_noise(configurations),
        spent=_spent(inputs),
    )


def _deltas_and_ranking(pairs: Sequence[tuple[str, str]], phase4: Repeated, runs: Runs) -> dict[str, Any]:
    means = {point: _mean_best([runs[one] for one in seeds.values()]) for point, seeds in phase4.items()}
    deltas = [
        DeltaTable(one, other, delta_table(means[one], means[other]), _ids(phase4, *pair))
        for pair in pairs
        for one, other in [_against(*pair)]
    ]
    ranked = ranking({point: float(mean["val_auc"] or 0) for point, mean in means.items()})
    return {"deltas": deltas, "ranking": [RankFigures(**vars(one), from_=_ids(phase4, one.name)) for one in ranked]}


def _against(a: str, b: str) -> tuple[str, str]:
    """A pair as baseline and other: against weak or strong where one of them is in it."""
    return (a, b) if a in BASELINES and b not in BASELINES else (b, a)


def _search(inputs: Inputs, runs: Runs) -> list[SearchFigure]:
    """The value of each trial whose run is here, read from the run and not from the study."""
    return [
        SearchFigure(trial.trial, runs[trial.run].best["val_auc"], [trial.run])
        for trial in inputs.trials
        if trial.run is not None
    ]


def _by_point(sources: Sequence[Source]) -> dict[str, dict[int, str]]:
    """Configuration -> seed -> id of the run."""
    found: dict[str, dict[int, str]] = {}
    for source in sources:
        found.setdefault(source.point, {})[source.seed] = source.id
    return found


def _ids(phase4: Repeated, *points: str) -> list[str]:
    return [one for point in points for one in phase4[point].values()]


def _on_test(run: RecordedRun) -> dict[str, float]:
    """The metrics of a run's scores on the test split, by name; none where it has not been scored."""
    scores = read_scores(run.folder, "test")
    if scores is None:
        return {}
    logits, labels = torch.from_numpy(scores.logits), torch.from_numpy(scores.labels).float()
    values = (roc_auc(scores.logits, scores.labels), log_loss(logits, labels), calibration_error(logits, labels))
    return dict(zip(ON_TEST, values, strict=True))


def _run_figures(run: RecordedRun, on_test: Mapping[str, float]) -> RunFigures:
    return RunFigures(
        best_epoch=run.best["epoch"],
        epochs=len(run.history),
        best=run.best,
        metrics_sha256=hashlib.sha256((run.folder / "metrics.csv").read_bytes()).hexdigest()[:16],
        history=run.history,
        **{name: on_test.get(name) for name in ON_TEST},
    )


def _mean_best(runs: Sequence[RecordedRun]) -> dict[str, float | None]:
    """Means over the runs of each metric at its best epoch; None where a model has no such metric."""
    names = (*OVER_SEEDS, *ranking_in([run.best for run in runs]))
    return {name: _mean([run.best.get(name) for run in runs]) for name in names}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _configuration(
    point: str, seeds: Mapping[int, str], runs: Runs, on_test: Mapping[str, Mapping[str, float]]
) -> ConfigurationFigures:
    """Spread over the seeds of every metric at the best epoch, and the mean curve."""

    def over_seeds(name: str, values: Sequence[float]) -> Spread:
        return spread(values, np.random.default_rng(stream_seed(0, "report", point, name)))

    bests = [runs[one].best for one in seeds.values()]
    figures = {
        name: over_seeds(name, [best[name] for best in bests])
        for name in (*OVER_SEEDS, *ranking_in(bests))
        if all(best.get(name) is not None for best in bests)
    }
    tested = [on_test[one] for one in seeds.values() if on_test[one]]
    figures |= {name: over_seeds(name, [one[name] for one in tested]) for name in ON_TEST if tested}
    own = [runs[one] for one in seeds.values()]
    curve, monitor = _mean_curve(own), own[0].monitor
    return ConfigurationFigures(
        seeds=list(seeds),
        best_epochs=[best["epoch"] for best in bests],
        figures=figures,
        curve=curve,
        from_=list(seeds.values()),
        epoch_optimism=_epoch_optimism(own, monitor),
        monitor=None if monitor == MONITOR else monitor,
    )


def _epoch_optimism(runs: Sequence[RecordedRun], monitor: str) -> float:
    """How much better the mean over the runs' own best epochs is than the best epoch of their mean curve."""
    epochs = min(len(run.history) for run in runs)
    curve = [float(np.mean([run.history[index][monitor] for run in runs])) for index in range(epochs)]
    chosen = float(np.mean([run.best[monitor] for run in runs]))
    return chosen - max(curve) if column(monitor).higher_is_better else min(curve) - chosen


def _mean_curve(runs: Sequence[RecordedRun]) -> list[dict[str, Any]]:
    """Per epoch that every run has: mean, lowest and highest of the curves' columns over the runs."""
    epochs = min(len(run.history) for run in runs)
    curve = []
    for index in range(epochs):
        rows = [run.history[index] for run in runs]
        point: dict[str, Any] = {"epoch": rows[0]["epoch"]}
        for name in CURVES:
            values = [row[name] for row in rows if row[name] is not None]
            point[name] = {"mean": float(np.mean(values)), "low": min(values), "high": max(values)} if values else None
        curve.append(point)
    return curve


def _criteria(inputs: Inputs, ids: Sequence[str], runs: Runs) -> CriteriaFigures:
    """The criteria judged on the mean curve over the seeds, and on each run's best epoch."""
    history = [
        {"epoch": row["epoch"], **{n: row[n] and row[n]["mean"] for n in ("val_auc", "train_auc", "train_val_gap")}}
        for row in _mean_curve([runs[one] for one in ids])
    ]
    bests = [runs[one].best for one in ids]
    found = assess(history, inputs.epochs, inputs.criteria, inputs.tiers, bests, runs[ids[0]].monitor)
    return CriteriaFigures(**vars(found), from_=list(ids))


def _confirmation(inputs: Inputs, runs: Runs) -> ConfirmationFigures | None:
    if not inputs.candidates:
        return None
    values: dict[str, dict[int, float]] = {}
    ids: dict[str, list[str]] = {}
    for source in inputs.runs:
        if source.stage == CONFIRMATION:
            values.setdefault(source.point, {})[source.seed] = runs[source.id].best["val_auc"]
            ids.setdefault(source.point, []).append(source.id)
    found = confirm(inputs.candidates, values, near="balanced")
    candidates = [CandidateFigures(**vars(one), from_=ids[one.name]) for one in found.candidates]
    every = [one for candidate in candidates for one in candidate.from_]
    return ConfirmationFigures(**vars(found) | {"candidates": candidates}, from_=every)


def _infrastructure(inputs: Inputs, runs: Runs) -> Infrastructure:
    sources, times = inputs.runs, []
    for source in sources:
        seconds = [row["epoch_seconds"] for row in runs[source.id].history]
        times.append(
            RunTimes(
                run=source.id,
                device=source.device,
                seconds=sum(seconds),
                median_epoch=statistics.median(seconds),
                slowest_epoch=max(seconds),
                slow_epochs=slow_epochs(runs[source.id].history, inputs.pace),
            )
        )
    return Infrastructure(
        runs=times,
        epochs=sum(len(runs[source.id].history) for source in sources),
        seconds=sum(one.seconds for one in times),
        slow=[one.run for one in times if one.slow_epochs],
        devices=sorted({source.device for source in sources}),
        commits=sorted({source.commit for source in sources}),
        data=sorted({source.data_hash for source in sources}),
    )


def _evidence(inputs: Inputs, phase4: Repeated, runs: Runs, comparisons: Sequence[ComparedPair]) -> EvidenceFigures:
    """What every configuration has: the fewest seeds and the fewest epochs decide."""
    looks = inputs.looks
    made = 0 if looks is None else len(looks.made)
    planned_seeds = looks.planned[made - 1] if looks is not None and made else len(inputs.seeds[PHASE_4])
    found = Evidence(
        epochs=min(len(runs[one].history) for seeds in phase4.values() for one in seeds.values()),
        epochs_planned=inputs.epochs,
        seeds=min(len(seeds) for seeds in phase4.values()),
        seeds_planned=planned_seeds,
        pairs=[one.n for one in comparisons],
    )
    planned = analyses(found)
    return EvidenceFigures(
        **vars(found),
        share=share_of_plan(found),
        verdict=sufficiency(planned),
        analyses=planned,
        from_=_ids(phase4, *phase4),
    )


def _claim(
    inputs: Inputs, confirmation: ConfirmationFigures | None, configurations: Mapping[str, ConfigurationFigures]
) -> ClaimFigures | None:
    """What was said of the winner, less what its fresh seeds gave, on validation rows: there the claim was made."""
    claim = inputs.claim
    if claim is None or claim.point not in configurations:
        return None
    claimed = claim.value
    if claimed is None and confirmation is not None:
        claimed = next((row.mean for row in confirmation.candidates if row.trial == inputs.winner_trial), None)
    if claimed is None:
        return None
    block = configurations[claim.point]
    found = block.figures["val_auc"]
    error = None if found.sd is None else found.sd / math.sqrt(found.n)
    return ClaimFigures(
        claim.by, claim.point, claimed, found.mean, found.n, claimed - found.mean, error, list(block.from_)
    )


def _noise(configurations: Mapping[str, ConfigurationFigures]) -> dict[str, float]:
    """The standard deviation of one seed's AUC, by split; empty where no configuration has two seeds."""
    found = {}
    for split, name in (("validation", "val_auc"), ("test", "test_auc")):
        spreads = [block.figures[name] for block in configurations.values() if name in block.figures]
        if (pooled := pooled_sd([(one.n, one.sd) for one in spreads])) is not None:
            found[split] = pooled
    return found


def _spent(inputs: Inputs) -> dict[str, int]:
    """Runs by stage: trials of the study that trained, and the runs of confirmation and of Phase 4."""
    trained = sum(trial.state in ("COMPLETE", "PRUNED") for trial in inputs.trials)
    stages = [source.stage for source in inputs.runs]
    return {SEARCH: trained, CONFIRMATION: stages.count(CONFIRMATION), PHASE_4: stages.count(PHASE_4)}
