"""Every model on one data set, tuned alike; MDAF-Mamba without its parts: ``python -m benchmarks.results OVERRIDES``.

Each model is first trained at every point of one small grid with one seed; the point with the best validation AUC is
then trained with other seeds, whose best checkpoints are scored on validation and, once, on test. Points and seeds of
a model are one launch each, so on CUDA they train in lock-step. What is finished is not repeated. Prints Markdown for
docs/results.md, and keeps every figure in ``results.json`` of the folder.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

import torch

from mdaf.atomic import write_atomically
from mdaf.data.inspecting.baselines import rule_aucs
from mdaf.data.preparing.prepare import prepare_config
from mdaf.multirun.analysis.scores import Scorer, read_scores
from mdaf.sweeper.runs.reader import read_config, read_run
from mdaf.sweeper.training.metrics import auc, grouped_auc, log_loss

MODELS = (
    "mdaf_mamba", "mdaf_mamba2", "mdaf_bst", "mamba4rec", "bst", "din", "dcnv3", "dcnv2", "deepfm", "boosted",
)  # fmt: skip
GRIDS: dict[str, dict[str, tuple[str, ...]]] = {
    "neural": {
        "training.learning_rate": ("1e-3", "3e-3"), "training.batch_size": ("512", "2048"),
        "regularization": ("weak", "balanced"),
    },
    "boosted": {"model.learning_rate": ("0.025", "0.05", "0.1", "0.2"), "model.leaves": ("15", "31")},
}  # fmt: skip
ABLATED = "mdaf_mamba"
ABLATIONS = {
    "gate replaced by concatenation": ("model.fusion=concat",),
    "static branch alone": ("model.fusion=static",),
    "sequential branch alone": ("model.fusion=sequence",),
    "without match features": ("model.sequence.match_features=false",),
    "candidate not in the sequence": ("model.sequence.target_aware=false",),
    "neither of the two": ("model.sequence.match_features=false", "model.sequence.target_aware=false"),
    "histories shuffled": ("data.history_order=shuffled",),
    "without behaviour": ("model.without=[behaviour]",),
    "mean over the history": ("model.sequence.pooling=mean",),
}
SPLITS = ("validation", "test")
FIGURES = ("AUC", "gAUC", "log loss")


@dataclass(frozen=True)
class Outcome:
    """``figures``: split -> figure -> a value a seed, in the seeds' order; ``chosen``: overrides of its point."""

    chosen: list[str]
    figures: dict[str, dict[str, list[float]]]


def main() -> None:
    """Trains what is missing and prints both tables."""
    options = _parser().parse_args()
    bench = Bench(options)
    with ThreadPoolExecutor(options.parallel) as pool:
        chosen = dict(zip(options.models, pool.map(bench.tune, options.models), strict=True))
        models = {name: pool.submit(bench.repeat, name, name, chosen[name]) for name in options.models}
        parts = {name: pool.submit(bench.repeat, ABLATED, name, [*chosen[ABLATED], *more])
                 for name, more in ABLATIONS.items() if options.ablate}  # fmt: skip
    outcomes = {name: future.result() for name, future in (models | parts).items()}
    write_atomically(
        bench.folder / "results.json",
        lambda file: file.write(json.dumps({k: asdict(v) for k, v in outcomes.items()}, indent=2).encode()),
    )
    print("\n".join(bench.tables({name: outcomes[name] for name in models}, {name: outcomes[name] for name in parts})))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.results", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="of every run, say data=movielens data.path=ml-100k.inter")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--tuning-epochs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--tuning-seed", type=int, default=7)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 123, 456])
    parser.add_argument("--ablate", action="store_true", help="also train MDAF-Mamba without each of its parts")
    parser.add_argument("--parallel", type=int, default=1, help="launches at a time")
    parser.add_argument("--folder", type=Path, default=Path("runs/results"))
    return parser


class Bench:
    """Launches below one folder and what their runs give."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.folder = options, options.folder
        self.scorer, self.scoring = Scorer(), Lock()

    def tune(self, model: str) -> list[str]:
        """The overrides of the grid's point with the best validation AUC."""
        grid = GRIDS["boosted" if model == "boosted" else "neural"]
        points = [[f"{key}={v}" for key, v in zip(grid, p, strict=True)] for p in itertools.product(*grid.values())]
        folder = self.folder / "tuning" / model
        settings = [f"{key}={','.join(values)}" for key, values in grid.items()]
        self._launch(
            folder, len(points), f"model={model}", *settings, f"training.epochs={self.options.tuning_epochs}",
            f"seed={self.options.tuning_seed}",
        )  # fmt: skip
        aucs = [_result(folder / str(job))["best"]["val_auc"] for job in range(len(points))]
        return points[aucs.index(max(aucs))]

    def repeat(self, model: str, name: str, chosen: list[str]) -> Outcome:
        """The figures of a configuration over the seeds."""
        folder = self.folder / "repeated" / name.replace(" ", "_")
        seeds = self.options.seeds
        self._launch(
            folder, len(seeds), f"model={model}", *chosen, f"training.epochs={self.options.epochs}",
            f"seed={','.join(map(str, seeds))}",
        )  # fmt: skip
        figures: dict[str, dict[str, list[float]]] = {split: {name: [] for name in FIGURES} for split in SPLITS}
        for job in range(len(seeds)):
            for split in SPLITS:
                for figure, value in self._figures(folder / str(job), split).items():
                    figures[split][figure].append(value)
        return Outcome(chosen, figures)

    def _launch(self, folder: Path, jobs: int, *overrides: str) -> None:
        """Runs a launch unless all of its runs are there; the text of one that failed lies in its folder."""
        if all((folder / str(job) / "result.json").is_file() for job in range(jobs)):
            return
        command = [sys.executable, "-m", "sweeper", "-m", *self.options.overrides, *overrides]
        end = subprocess.run([*command, f"hydra.sweep.dir={folder}"], capture_output=True, text=True)
        if end.returncode:
            raise SystemExit(f"{' '.join(command)}\n{end.stderr[-2000:]}")
        print(f"{folder} is there", file=sys.stderr, flush=True)

    def _figures(self, run: Path, split: str) -> dict[str, float]:
        with self.scoring:
            self.scorer.keep(run, split)
        scores = read_scores(run, split)
        assert scores is not None
        logits, labels = torch.from_numpy(scores.logits), torch.from_numpy(scores.labels).float()
        users = torch.from_numpy(scores.users)
        return {
            "AUC": auc(logits, labels), "gAUC": grouped_auc(logits, labels, users), "log loss": log_loss(logits, labels)
        }  # fmt: skip

    def tables(self, models: dict[str, Outcome], parts: dict[str, Outcome]) -> list[str]:
        """Markdown: the models by test AUC with the trivial rules, then what each part of MDAF-Mamba brings."""
        head = [f"{split} {figure}" for split in SPLITS for figure in FIGURES]
        lines = [f"| model | point | {' | '.join(head)} |", "|---|---|" + "---:|" * len(head)]
        for name in sorted(models, key=lambda name: -statistics.mean(models[name].figures["test"]["AUC"])):
            outcome = models[name]
            cells = [_spread(outcome.figures[split][figure]) for split in SPLITS for figure in FIGURES]
            lines.append(f"| {name} | {', '.join(o.split('=')[1] for o in outcome.chosen)} | {' | '.join(cells)} |")
        first = self.folder / "repeated" / next(iter(models)) / "0"
        for rule, by_split in rule_aucs(prepare_config(read_config(first).data)).items():
            lines.append(f"| rule: {rule} | | {by_split['validation']:.4f} | | | {by_split['test']:.4f} | | |")
        if parts:
            lines += ["", "| MDAF-Mamba | validation AUC | less the whole's, in pairs | test AUC | less the whole's |"]
            lines.append("|---|---:|---:|---:|---:|")
            lines.extend(
                _ablation(name, part, models[ABLATED]) for name, part in ({"whole": models[ABLATED]} | parts).items()
            )
        return lines


def _ablation(name: str, part: Outcome, whole: Outcome) -> str:
    cells = []
    for split in SPLITS:
        these, those = part.figures[split]["AUC"], whole.figures[split]["AUC"]
        cells.append(_spread(these))
        cells.append("" if part is whole else _spread([a - b for a, b in zip(these, those, strict=True)], "+"))
    return f"| {name} | {' | '.join(cells)} |"


def _spread(values: list[float], sign: str = "") -> str:
    return f"{statistics.mean(values):{sign}.4f} ± {statistics.stdev(values):.4f}"


def _result(folder: Path) -> dict[str, dict[str, float]]:
    result = read_run(folder).result
    assert result, folder
    return result


if __name__ == "__main__":
    main()
