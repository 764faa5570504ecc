"""What is decided: the question that is looked at, and the comparisons beside it, on the rows that decide."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mdaf.multirun.analysis.comparisons import ComparedPair, compare_pairs
from mdaf.multirun.analysis.looks.decision import Look, LookPlan, make_looks
from mdaf.multirun.analysis.looks.levels import nominal_level
from mdaf.multirun.analysis.looks.power import detectable_effect, exaggeration, power_of
from mdaf.multirun.analysis.report_data.content import Comparison, DecisionFigures, OtherRows
from mdaf.multirun.analysis.report_data.inputs import Inputs
from mdaf.multirun.analysis.rows.roc import DeLong
from mdaf.multirun.analysis.rows.same_rows import RunOfPoint, SameRows
from mdaf.multirun.analysis.statistics import paired
from mdaf.streams import stream_seed
from mdaf.sweeper.runs.reader import RecordedRun

OTHER = {"test": "validation", "validation": "test"}
AUC = {"test": "test_auc", "validation": "val_auc"}
Repeated = Mapping[str, Mapping[int, RunOfPoint]]  # configuration -> seed -> its run


class Rows:
    """The rows of the split that decides, by the names of configurations."""

    def __init__(self, split: str, resamples: int, repeated: Repeated) -> None:
        self.same = SameRows(split, resamples)
        self._repeated = repeated

    def delong(self, a: str, b: str, seeds: Sequence[int]) -> Mapping[int, DeLong]:
        """DeLong's test of each seed for which there are rows."""
        return self.same.delong(self._repeated[a], self._repeated[b], seeds)

    def users_error(self, a: str, b: str, seeds: Sequence[int]) -> float | None:
        """Standard error of the mean difference over resampled users, None without rows."""
        return self.same.users_error(self._repeated[a], self._repeated[b], seeds)


def looks_of(
    a: str, b: str, differences: Mapping[int, float], made: Sequence[Sequence[int]], plan: LookPlan, rows: Rows
) -> list[Look]:
    """The looks that were made at the question whether ``a`` is better than ``b``, until one of them was the last."""
    return make_looks(differences, made, plan, lambda seeds: rows.users_error(a, b, seeds), all_made=True)


class Decided:
    """The question of a report, and its comparisons, from the values of its runs."""

    def __init__(
        self,
        inputs: Inputs,
        phase4: Mapping[str, Mapping[int, str]],
        runs: Mapping[str, RecordedRun],
        on_test: Mapping[str, Mapping[str, float]],
    ) -> None:
        self._inputs, self._phase4 = inputs, phase4
        self._values = {
            "validation": {
                point: {seed: float(runs[one].best["val_auc"]) for seed, one in seeds.items()}
                for point, seeds in phase4.items()
            },
            "test": {
                point: {seed: on_test[one]["test_auc"] for seed, one in seeds.items() if on_test[one]}
                for point, seeds in phase4.items()
            },
        }
        repeated = {
            point: {seed: RunOfPoint(one, runs[one].folder) for seed, one in seeds.items()}
            for point, seeds in phase4.items()
        }
        self._rows = Rows(inputs.rows, inputs.resamples, repeated)
        self.pairs = [(a, b) for a, b in inputs.comparisons if a in phase4 and b in phase4]
        self._question = self._answered()

    def question(self) -> DecisionFigures | None:
        """The question that was looked at, None where there was none."""
        return self._question

    def comparisons(self) -> list[Comparison]:
        """The question's pair first, at the level of its looks; then the others, which share an error.

        Beside a question the others are secondary: they are tested at the level of a look, and only if the question
        was answered, so that all of them together keep ``alpha``.
        """
        inputs, asked = self._inputs, self._question
        if asked is None:
            return [self._on_other_rows(one) for one in self._compared(self.pairs, inputs.alpha)]
        question = [
            dataclasses.replace(one, verdict=asked.verdict, detectable=asked.detectable)
            for one in self._compared([(asked.a, asked.b)], asked.level)
        ]
        others = self._compared(self._others(), asked.level)
        if asked.verdict not in ("better", "worse"):
            others = [dataclasses.replace(one, verdict="indistinguishable") for one in others]
        return [self._on_other_rows(one) for one in [*question, *others]]

    def _others(self) -> list[tuple[str, str]]:
        assert self._question is not None
        return [pair for pair in self.pairs if pair != (self._question.a, self._question.b)]

    def _compared(self, pairs: Sequence[tuple[str, str]], alpha: float) -> list[ComparedPair]:
        if not pairs:
            return []
        confidence = 0.95 if self._question is None else 1 - self._question.level
        values = self._values[self._inputs.rows]
        return compare_pairs(pairs, values, alpha, self._inputs.margin, self._rows, confidence)

    def _answered(self) -> DecisionFigures | None:
        inputs, asked = self._inputs, self._inputs.looks
        if asked is None or (asked.a, asked.b) not in self.pairs:
            return None
        plan = LookPlan(tuple(asked.planned), inputs.alpha, inputs.margin, asked.futility)
        values = self._values[inputs.rows]
        a, b = values[asked.a], values[asked.b]
        differences = {seed: a[seed] - b[seed] for seed in a if seed in b}
        looks = looks_of(asked.a, asked.b, differences, asked.made, plan, self._rows)
        last, level = looks[-1], nominal_level(plan.looks, plan.alpha)
        effect = detectable_effect(plan.looks, level.level, plan.futility)
        return DecisionFigures(
            a=asked.a,
            b=asked.b,
            rows=inputs.rows,
            alpha=inputs.alpha,
            level=level.level,
            standard_error=level.standard_error,
            looks=looks,
            verdict=last.verdict,
            stop=last.stop,
            deploy=asked.a if last.verdict == "better" else asked.b,
            detectable=effect * last.sd if effect is not None and last.sd else None,
            exaggeration=None if effect is None else exaggeration(effect, plan.looks, level.level, plan.futility),
            false_better=power_of(0.0, plan.looks, level.level, plan.futility).better,
            from_=[self._phase4[point][seed] for point in (asked.a, asked.b) for seed in last.seeds],
        )

    def _on_other_rows(self, pair: ComparedPair) -> Comparison:
        """The comparison with the same difference on the rows that do not decide, where there are any."""
        split = OTHER[self._inputs.rows]
        a, b = (self._values[split].get(point, {}) for point in (pair.a, pair.b))
        seeds = [seed for seed in a if seed in b]
        ids = [self._phase4[point][seed] for point in (pair.a, pair.b) for seed in pair.seeds]
        other = None
        if seeds:
            rng = np.random.default_rng(stream_seed(0, "report", "test"))
            found = paired([a[seed] for seed in seeds], [b[seed] for seed in seeds], rng)
            by_seed = {str(seed): a[seed] - b[seed] for seed in seeds}
            other = OtherRows(by_seed=by_seed, **vars(found.spread), t_p=found.t_p)
        validation, test = (other, None) if split == "validation" else (None, other)
        return Comparison(**vars(pair), validation=validation, test=test, from_=ids)
