"""Trains a model of another library as a process of its own: ``PYTHON -P benchmarks/peers/server.py``.

It imports nothing of this project. The first line of standard input is a JSON object: a ``Task``. The answer to it is
``{"parameters": n}``. Each further line is a number of seconds. For that time the library's own training loop runs over
its own loader, in whole steps; the first step is not counted. The answer is ``{"samples", "seconds",
"processor", "bytes", "device_bytes"}``: ``processor`` is seconds of the processor and ``bytes`` the memory of the
process and of its loader's processes, ``device_bytes`` the most of PyTorch on the device.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray

CONTEXT = ("hour", "weekday")  # fields of a sample that are neither the user's nor the candidate's


@dataclass(frozen=True)
class Task:
    """What is to be trained.

    ``library``   fuxictr | torch-rechub | ours | products, which are the matrix products of our model alone.
    ``model``     DIN | BST | DCNv2.
    ``rows``      the file with the training rows that ``benchmarks.peers.ours.write_rows`` writes.
    ``widths``    of layers: ``item``, ``category``, ``other`` of tables, ``attention``, ``head``, ``feed_forward``,
                  ``crosses``, ``heads``.
    ``dropout``   of hidden layers.
    ``overrides`` of our config.
    ``workers``   processes of the loader.
    """

    library: str
    model: str
    rows: str
    device: str
    batch: int
    length: int
    learning_rate: float
    dropout: float
    widths: Mapping[str, Any]
    workers: int = 0
    overrides: list[str] = field(default_factory=list)


class Clock:
    """Hands out batches until the time is over, and knows how long they took."""

    def __init__(self, seconds: float, cuda: bool) -> None:
        self.seconds, self.cuda = seconds, cuda
        self.steps = self.samples = 0
        self.begun = self.ended = self.worked = 0.0
        self.memory = 0

    def over(self) -> bool:
        return self.ended > 0

    def batches(self, loader: Iterable[Any], size: Callable[[Any], int]) -> Iterator[Any]:
        """The loader's batches; a batch is asked for when the step on the one before has ended.

        ``size`` says how many samples a batch has.
        """
        for found in loader:
            if self.steps == 1:
                self.begun, self.worked, self.samples = self._now(), tree_work(), 0
            if self.steps > 1 and time.perf_counter() - self.begun > self.seconds:
                self.ended, self.worked = self._now(), tree_work() - self.worked
                self.memory = tree_bytes()
                return
            self.steps, self.samples = self.steps + 1, self.samples + size(found)
            yield found

    def _now(self) -> float:
        if self.cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def answer(self) -> dict[str, float]:
        """What the loop did, without its first batch."""
        device = torch.cuda.max_memory_allocated() if self.cuda else 0
        return {
            "samples": self.samples,
            "seconds": self.ended - self.begun,
            "processor": self.worked,
            "bytes": self.memory,
            "device_bytes": device,
        }


def tree_bytes() -> int:
    """The memory of this process and its children, in which a page that several share counts as a part for each.

    Where the system does not tell it: the most that this process has had.
    """
    found = 0
    try:
        for process in [os.getpid(), *_children(os.getpid())]:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            found += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return found


def tree_work() -> float:
    """Seconds of the processor that this process and its children have worked."""
    found = time.process_time()
    for process in _children(os.getpid()):
        try:
            after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        found += sum(map(int, after_name[11:13])) / os.sysconf("SC_CLK_TCK")
    return found


def _children(process: int) -> list[int]:
    files = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for file in files for child in file.read_text().split()]


Train = Callable[[Clock], None]


def serve(build: Callable[[Task], tuple[int, Train]]) -> None:
    """Answers standard input. ``build`` makes a task's number of parameters, and what trains until a clock is over."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not come between the answers

    def say(answer: Mapping[str, float]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    task = Task(**json.loads(sys.stdin.readline()))
    parameters, train = build(task)
    say({"parameters": parameters})
    for line in sys.stdin:
        clock = Clock(json.loads(line), task.device == "cuda")
        while not clock.over():
            train(clock)
        say(clock.answer())


def of_peer(task: Task) -> tuple[int, Train]:
    """A peer's model and training loop."""
    rows = np.load(task.rows)
    model, train = {"fuxictr": fuxictr, "torch-rechub": torch_rechub}[task.library](task, rows)
    return sum(p.numel() for p in model.parameters()), train


# ---- FuxiCTR


def fuxictr(task: Task, rows: Mapping[str, ndarray]) -> tuple[torch.nn.Module, Train]:
    """FuxiCTR's model of long histories, with the loader of its model zoo: tables of rows, of users and of items."""
    _stand_in_for_ray()
    from fuxictr.features import FeatureMap
    from model_zoo.LongCTR import DIN, DCNv2
    from model_zoo.LongCTR.longctr_dataloader import LongCTRDataLoader

    folder = tempfile.mkdtemp()
    features = FeatureMap("rows", folder)
    features.labels = ["label"]
    for name, kind in {"user": "user", **dict.fromkeys(CONTEXT, "context"), "item": "item", "category": "item"}.items():
        width = task.widths[name] if kind == "item" else task.widths["other"]
        size = int(rows[f"size_{name}"])
        features.features[name] = {"type": "categorical", "source": kind, "vocab_size": size, "embedding_dim": width}
        if kind == "item":
            features.features[name]["padding_idx"] = 0
    for name in ("user_index", "seq_len", "item_index"):  # which its loader reads, and no model
        features.features[name] = {"type": "meta"}
    features.default_emb_dim = task.widths["other"]
    shared: dict[str, Any] = {
        "feature_map": features,
        "gpu": 0 if task.device == "cuda" else -1,
        "learning_rate": task.learning_rate,
        "embedding_dim": task.widths["other"],
        "net_dropout": task.dropout,
        "optimizer": "adam",
        "loss": "binary_crossentropy",
        "metrics": ["AUC"],
        "model_root": folder,
        "verbose": 0,
    }
    if task.model == "DIN":
        model = DIN(
            attention_hidden_units=task.widths["attention"],
            attention_hidden_activations="PReLU",
            dnn_hidden_units=task.widths["head"],
            **shared,
        )
    else:
        model = DCNv2(num_cross_layers=task.widths["crosses"], parallel_dnn_hidden_units=task.widths["head"], **shared)
    files = _files_of_fuxictr(rows, Path(folder))
    loader = LongCTRDataLoader(
        features, *files, batch_size=task.batch, shuffle=True, num_workers=task.workers, max_len=task.length
    )
    model._max_gradient_norm, model._eval_steps = 10.0, sys.maxsize  # as fit sets them, but it never evaluates
    model._total_steps, model._stop_training = 0, False
    return model, lambda clock: model.train_epoch(clock.batches(loader, lambda batch: len(batch[2])))


def _files_of_fuxictr(rows: Mapping[str, ndarray], folder: Path) -> list[str]:
    import pandas as pd

    names = ("user", *CONTEXT, "label", "user_index", "seq_len", "item_index")
    pd.DataFrame({name: rows[name].astype(np.int64) for name in names}).to_parquet(folder / "rows.parquet")
    histories = np.split(rows["events"], rows["ends"][:-1])
    pd.DataFrame({"full_item_seq": histories}).to_parquet(folder / "users.parquet")
    items = {"item_index": np.arange(len(rows["items"])), "item": rows["items"], "category": rows["categories"]}
    pd.DataFrame(items).to_parquet(folder / "items.parquet")
    return [str(folder / f"{name}.parquet") for name in ("rows", "users", "items")]


def _stand_in_for_ray() -> None:
    """Empty modules where Ray is missing: FuxiCTR imports it for another loader than the one that is measured."""
    try:
        import ray.data  # noqa: F401
    except ImportError:
        for name in ("ray", "ray.data", "ray.data.datasource", "ray.data.datasource.filename_provider"):
            sys.modules[name] = types.ModuleType(name)
        sys.modules["ray"].data = sys.modules["ray.data"]  # type: ignore[attr-defined]
        provider = sys.modules["ray.data.datasource.filename_provider"]
        provider.FilenameProvider = object  # type: ignore[attr-defined]
        for name in ("SaveMode", "TaskPoolStrategy"):
            setattr(sys.modules["ray.data"], name, object)


# ---- torch-rechub


def torch_rechub(task: Task, rows: Mapping[str, ndarray]) -> tuple[torch.nn.Module, Train]:
    """torch-rechub's model, trainer and loader; its histories are padded before training."""
    from torch_rechub.basic.features import SequenceFeature, SparseFeature
    from torch_rechub.trainers import CTRTrainer
    from torch_rechub.utils.data import DataGenerator

    x = {name: rows[name].astype(np.int64) for name in ("user", *CONTEXT)}
    histories = padded(rows, task.length)
    for name, of_item in {"item": rows["items"], "category": rows["categories"]}.items():
        x[name], x[f"hist_{name}"] = of_item[rows["item_index"]], of_item[histories]
    pooling = "mean" if task.model == "DCNv2" else "concat"
    context = [SparseFeature(name, int(rows[f"size_{name}"]), task.widths["other"]) for name in ("user", *CONTEXT)]
    sparse = [SparseFeature(name, int(rows[f"size_{name}"]), task.widths[name]) for name in ("item", "category")]
    events = [
        SequenceFeature(
            f"hist_{name}",
            int(rows[f"size_{name}"]),
            task.widths[name],
            pooling=pooling,
            shared_with=name,
            padding_idx=0,
        )
        for name in ("item", "category")
    ]
    model = _model_of_rechub(task, context, events, sparse)
    loader, *_ = DataGenerator(x, rows["label"]).generate_dataloader(
        x_val=x, y_val=rows["label"], x_test=x, y_test=rows["label"], batch_size=task.batch, num_workers=task.workers
    )
    settings = {"lr": task.learning_rate, "weight_decay": 1e-5}
    trainer = CTRTrainer(model, optimizer_params=settings, device=task.device)
    logging.disable(logging.WARNING)
    return model, lambda clock: trainer.train_one_epoch(clock.batches(loader, lambda batch: len(batch[1])))


def _model_of_rechub(task: Task, context: list[Any], events: list[Any], sparse: list[Any]) -> torch.nn.Module:
    from torch_rechub.models.ranking import BST, DIN, DCNv2

    head = {"dims": task.widths["head"], "dropout": task.dropout}
    model: torch.nn.Module
    if task.model == "DCNv2":
        fields = [*context, *sparse, *events]
        model = DCNv2(fields, task.widths["crosses"], head, use_low_rank_mixture=False)
    elif task.model == "DIN":
        attention = {"dims": task.widths["attention"], "activation": "prelu"}
        model = DIN(context, events, sparse, head, attention)
    else:
        heads, longest = task.widths["heads"], 1 + task.length
        model = BST(context, events, sparse, head, nhead=heads, dropout=task.dropout, max_seq_len=longest)
    return model


def padded(rows: Mapping[str, ndarray], length: int) -> ndarray:
    """The last ``length`` items of each row's history, (rows, length) int64, the padding 0 before them."""
    begins = rows["ends"] - np.diff(rows["ends"], prepend=0)
    back = np.arange(-length, 0)
    position = begins[rows["user_index"]][:, None] + rows["seq_len"][:, None] + back
    inside = rows["seq_len"][:, None] + back >= 0
    return np.where(inside, rows["events"][np.where(inside, position, 0)], 0).astype(np.int64)


if __name__ == "__main__":
    serve(of_peer)
