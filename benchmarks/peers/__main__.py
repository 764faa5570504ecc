"""Training beside FuxiCTR and torch-rechub: ``python -m benchmarks.peers --peers PYTHON``. Prints Markdown.

The same rows, fields and widths for all, float32, each with its own loader and training loop. The peers live in an
environment of their own, whose interpreter ``--peers`` names; see ``benchmarks/peers/server.py``:

```
python3.11 -m venv peers && peers/bin/pip install fuxictr==2.3.10 torch-rechub==0.9.0
head -n 84476 UserBehavior.csv > part.csv
python -m benchmarks.peers data=user_behavior data.path=$PWD/part.csv --peers peers/bin/python
```

Each contender is a process of its own. They train in turn, several rounds; the first round is not counted, and in it
each peer tries how many processes its loader is fastest with. Ratios are those of medians. *Of the processor* are
samples for each second that the cores worked, which says more on a shared machine. *Products* are the matrix
products of a step of our model alone: how fast that model could be at most if nothing else took time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.peers.ours import write_rows
from benchmarks.peers.server import Task
from benchmarks.train.steps import composed
from mdaf import conf
from mdaf.data.preparing.prepare import prepare_config

ROOT = Path(__file__).resolve().parents[2]
SERVER = Path(__file__).with_name("server.py")
PACKAGES = {"fuxictr": "FuxiCTR", "torch-rechub": "torch-rechub"}
OURS, PRODUCTS = "ours", "products"
HEAD = [256, 128, 64]
#: Fields of one width, since torch-rechub takes no others; DIN's two are as wide together as by our default.
WIDTHS: dict[str, dict[str, Any]] = {
    "DIN": {"item": 48, "category": 48, "other": 16, "attention": [64, 16], "head": HEAD},
    "BST": {"item": 64, "category": 64, "other": 16, "heads": 4, "feed_forward": 2048, "head": HEAD},
    "DCNv2": {"item": 16, "category": 16, "other": 16, "crosses": 3, "head": HEAD},
}
#: Who has which model. FuxiCTR's wheel has no transformer over a history.
CONTENDERS = {
    "DIN": ("fuxictr", "torch-rechub", OURS, PRODUCTS),
    "BST": ("torch-rechub", OURS, PRODUCTS),
    "DCNv2": ("fuxictr", "torch-rechub", OURS, PRODUCTS),
}


@dataclass
class Contender:
    """A process that trains one model of one library, and the answers of its counted rounds."""

    task: Task
    command: Sequence[str]
    rounds: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), _path()]))}
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.parameters = int(self.ask(asdict(self.task))["parameters"])

    def ask(self, what: Any) -> dict[str, float]:
        """What the process answers to a line."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        if not (line := self.process.stdout.readline()):
            raise SystemExit(f"{self.task.library} {self.task.model} ended with exit code {self.process.wait()}")
        answer: dict[str, float] = json.loads(line)
        return answer

    def end(self) -> None:
        """Ends the process, which ends with its input."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def median(self, of: Callable[[Mapping[str, float]], float]) -> float:
        return median(map(of, self.rounds))


def _path() -> str:
    return os.environ.get("PYTHONPATH", "")


def by_clock(answer: Mapping[str, float]) -> float:
    """Samples for each second of the clock."""
    return answer["samples"] / answer["seconds"]


def by_processor(answer: Mapping[str, float]) -> float:
    """Samples for each second that the cores worked."""
    return answer["samples"] / answer["processor"]


def begun(task: Task, peers: str, workers: Sequence[int], seconds: float) -> Contender:
    """A contender after its first round; a peer has the number of loader processes with which it was fastest."""
    if task.library in (OURS, PRODUCTS):
        own = Contender(task, [sys.executable, "-P", "-m", "benchmarks.peers.ours"])
        own.ask(seconds)
        return own
    tried: list[tuple[float, int]] = []
    command = [peers, "-P", str(SERVER)]
    for count in workers:
        one = Contender(replace(task, workers=count), command)
        tried.append((by_clock(one.ask(seconds)), count))
        one.end()
    chosen = Contender(replace(task, workers=max(tried)[1]), command)
    chosen.ask(0.0)
    return chosen


def head(cuda: bool) -> str:
    """The first two lines of the table, in Markdown."""
    columns = ["model", "library", "samples/s", "least to greatest", "ours over it", "of the processor", "ours over it"]
    columns += ["memory, GB", *(["GPU memory, GB"] if cuda else []), "loader processes"]
    return f"| {' | '.join(columns)} |\n|---|---|" + "---:|" * (len(columns) - 2)


def lines(contenders: Sequence[Contender], cuda: bool) -> str:
    """A line of the table for each contender of one model."""
    ours = next(one for one in contenders if one.task.library == OURS)
    found = []
    for one in contenders:
        rates = sorted(map(by_clock, one.rounds))
        cells = [one.task.model, PACKAGES.get(one.task.library, one.task.library)]
        cells += [f"{one.median(by_clock):,.0f}", f"{rates[0]:,.0f} to {rates[-1]:,.0f}"]
        cells += [f"{ours.median(by_clock) / one.median(by_clock):.2f}"]
        cells += [f"{one.median(by_processor):,.0f}", f"{ours.median(by_processor) / one.median(by_processor):.2f}"]
        sizes = ["bytes", *(["device_bytes"] if cuda else [])]
        cells += [f"{max(answer[size] for answer in one.rounds) / 1e9:.2f}" for size in sizes]
        found.append(f"| {' | '.join(cells)} | {one.task.workers or ''} |")
    return "\n".join(found)


def measured(tasks: Sequence[Task], options: argparse.Namespace) -> list[Contender]:
    """The contenders of one model after all rounds, in which they take turns."""
    contenders = [begun(task, options.peers, options.workers, options.seconds) for task in tasks]
    for _ in range(options.rounds):
        for contender in contenders:
            contender.rounds.append(contender.ask(options.seconds))
    for contender in contenders:
        contender.end()
    return contenders


def main() -> None:
    """Measures the models that were asked for, one after the other, and prints one table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="of our config: data=user_behavior data.path=...")
    parser.add_argument("--peers", required=True, metavar="PYTHON", help="the interpreter that has both libraries")
    parser.add_argument("--models", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS))
    parser.add_argument("--libraries", nargs="+", default=[*PACKAGES, OURS, PRODUCTS], help="ours must be one")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a round, at least two steps")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 4], help="numbers of processes to try")
    options = parser.parse_intermixed_args()
    if OURS not in options.libraries:
        parser.error("--libraries lacks ours, which the others are compared with")
    conf.register()
    cfg = composed(options.overrides)
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.npz"
        write_rows(prepare_config(cfg.data), rows)
        device = torch.cuda.get_device_name() if options.device == "cuda" else f"{os.cpu_count()} cores"
        print(f"{device}, torch {torch.__version__}; batches of 2048, histories of {cfg.data.length}\n")
        print(head(options.device == "cuda"), flush=True)
        for model in options.models:
            tasks = [
                Task(
                    library=library,
                    model=model,
                    rows=str(rows),
                    device=options.device,
                    batch=2048,
                    length=cfg.data.length,
                    learning_rate=3e-4,
                    dropout=0.25,
                    widths=WIDTHS[model],
                    overrides=options.overrides,
                )
                for library in CONTENDERS[model]
                if library in options.libraries
            ]
            print(lines(measured(tasks, options), options.device == "cuda"), flush=True)


if __name__ == "__main__":
    main()
