"""``mdaf check`` says what an author has missed, each fault by the check that is for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from mdaf.data.preparing.prepare import prepare_config
from mdaf.data.schema import Batch, Schema
from mdaf.data.store.device_store import DeviceStore
from mdaf.model.ctr import CTRModel, Output
from mdaf.sweeper import __main__ as program
from mdaf.sweeper.check import __main__ as command
from mdaf.sweeper.check.checks import CHECKS, _found, built, findings
from mdaf.sweeper.check.finding import OK, WRONG, Finding
from mdaf.sweeper.check.subject import Subject
from mdaf.sweeper.check.table import show
from mdaf.sweeper.training.building.model_factory import Builder
from tests.model.all_layers import AllLayers
from tests.sweeper.tiny import ROOT, composed
from tests.terminals import on_a_terminal, screen_of

DATA = ("data=synthetic_tiny", "data.train_rows=300", "data.validation_rows=100", "device=cpu")


class Sound(nn.Module):
    """A small model without a fault; its kin change one thing."""

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.item = nn.Embedding(schema.tables["item"], 4)
        self.dropout, self.head = nn.Dropout(), nn.Linear(8, 1)

    def forward(self, batch: Batch) -> Tensor:
        return self.score(batch, self.history(batch))

    def history(self, batch: Batch) -> Tensor:
        events = self.item(batch.sequence["item"])
        valid = torch.arange(events.shape[1]) < batch.lengths[:, None]
        return (events * valid[..., None]).sum(dim=1) / batch.lengths.clamp(min=1)[:, None]

    def score(self, batch: Batch, history: Tensor) -> Tensor:
        return self.head(self.dropout(torch.cat([self.item(batch.static["item"]), history], dim=-1))).squeeze(-1)


class FixedSeed(Sound):
    def __init__(self, schema: Schema) -> None:
        torch.manual_seed(0)
        super().__init__(schema)


class Unseeded(Sound):
    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        with torch.no_grad():
            self.head.bias += float(np.random.default_rng().normal())


class Unread(Sound):
    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self.forgotten = nn.Linear(3, 3)


class PaddingIsRead(Sound):
    def history(self, batch: Batch) -> Tensor:
        return self.item(batch.sequence["item"]).mean(dim=1)


class EmptyIsNaN(Sound):
    def history(self, batch: Batch) -> Tensor:
        return super().history(batch) * (batch.lengths / batch.lengths)[:, None]


class BatchMean(Sound):
    def score(self, batch: Batch, history: Tensor) -> Tensor:
        return super().score(batch, history - history.mean(dim=0))


class ReadsLabels(Sound):
    def score(self, batch: Batch, history: Tensor) -> Tensor:
        return super().score(batch, history) + batch.labels


class Counts(Sound):
    count = 0

    def score(self, batch: Batch, history: Tensor) -> Tensor:
        self.count += self.training
        return super().score(batch, history) * (1 + self.count)


class CountsInEvaluation(Sound):
    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self.register_buffer("calls", torch.zeros(1))

    def score(self, batch: Batch, history: Tensor) -> Tensor:
        self.calls += 1.0
        return super().score(batch, history)


class Sigmoid(Sound):
    def score(self, batch: Batch, history: Tensor) -> Tensor:
        return super().score(batch, history).sigmoid()


class NoNumber(Sound):
    def score(self, batch: Batch, history: Tensor) -> Tensor:
        return super().score(batch, history) * (1.0 if self.training else float("nan"))


class BuffersDecide(Sound):
    """In training it scores by a buffer that the last step has changed."""

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self.head = nn.utils.parametrizations.spectral_norm(self.head)


class FunctionalDropout(Sound):
    def score(self, batch: Batch, history: Tensor) -> Tensor:
        return super().score(batch, nn.functional.dropout(history, 0.2, self.training))


class OnlyOne(CTRModel):
    """Claims to have the replica axis, and reads the first replica's weights for all."""

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.item = nn.Parameter(torch.randn(1, schema.tables["item"]))

    def forward(self, batch: Batch) -> Output:
        return Output(self.item[0][batch.static["item"].long()])


class NotSeparable(CTRModel):
    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.item = nn.Parameter(torch.randn(1, schema.tables["item"]))

    def forward(self, batch: Batch) -> Output:
        scores = self.item.gather(1, batch.static["item"].long())
        return Output(scores - scores.mean(dim=1, keepdim=True) if self.training else scores)


class Keeps(CTRModel):
    """Says that threads can share it, and hands its vectors on in an attribute."""

    thread_safe = True

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.item = nn.Parameter(torch.randn(1, schema.tables["item"]))

    def forward(self, batch: Batch) -> Output:
        self.kept = self.item.gather(1, batch.static["item"].long())
        return Output(self.kept)


class CountsBatches(Keeps):
    thread_safe = True

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self.register_buffer("batches", torch.zeros(1))

    def forward(self, batch: Batch) -> Output:
        if self.training:
            self.batches.add_(1)
        return Output(self.item.gather(1, batch.static["item"].long()))


class Collects(Keeps):
    thread_safe = True

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self.sizes: dict[str, list[int]] = {"batches": []}

    def forward(self, batch: Batch) -> Output:
        self.sizes["batches"].append(len(batch))
        return Output(self.item.gather(1, batch.static["item"].long()))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> DeviceStore:
    return DeviceStore(
        prepare_config(composed(*DATA, f"data.root={tmp_path_factory.mktemp('s')}", tiny=()).data), "cpu"
    )


def checked(store: DeviceStore, kind: type[nn.Module], *names: str) -> dict[str, str]:
    """What these checks, or all, say of a class, without what is right."""
    subject = Subject(Builder(lambda: kind(store.schema), kind, in_threads=False), store)  # type: ignore[call-arg]
    chosen = {name: check for name, check in CHECKS.items() if not names or name in names}
    return {f.check: f"{f.result} {f.said}" for f in _found(subject, {"built": built, **chosen}) if f.result != "ok"}


@pytest.mark.parametrize("kind", [Sound, AllLayers, BuffersDecide])
def test_a_model_without_fault_passes_every_check(store: DeviceStore, kind: type[nn.Module]) -> None:
    assert checked(store, kind) == {}


@pytest.mark.parametrize(
    ("kind", "check", "said"),
    [
        (FixedSeed, "the seed decides the weights", "WRONG another seed gives the same weights"),
        (Unseeded, "the seed decides the weights", "WRONG the same seed gives other values for head.bias"),
        (Unread, "every parameter learns", "note forgotten.weight, forgotten.bias: no gradient"),
        (PaddingIsRead, "padding", "WRONG scores with more padding: differences up to"),
        (EmptyIsNaN, "an empty history", "WRONG a score is not finite"),
        (BatchMean, "other samples of the batch", "WRONG scores beside other samples: differences up to"),
        (ReadsLabels, "labels", "WRONG the score depends on batch.labels"),
        (Counts, "saving and going on", "WRONG after it was saved and loaded, a step gives other values for"),
        (CountsInEvaluation, "an evaluation repeats", "WRONG an evaluation changes calls"),
        (Sigmoid, "scores are logits", "WRONG all scores are between 0 and 1, whatever the weights"),
        (NoNumber, "each sample gets a score", "WRONG a score is not finite"),
        (FunctionalDropout, "dropout is the config's", "note training draws random numbers with regularization.drop"),
        (OnlyOne, "dropout is the config's", "note regularization.dropout has no effect"),
        (OnlyOne, "replicas in lock-step are solo runs", "WRONG the gradient of item: differences up to"),
        (Keeps, "micro-batches", "WRONG forward writes kept, and several threads would write it at once"),
        (CountsBatches, "micro-batches", "WRONG forward writes batches, and several threads would"),
        (Collects, "micro-batches", "WRONG forward writes sizes, and several threads would"),
        (NotSeparable, "micro-batches", "WRONG item after a step in micro-batches: differences up to"),
    ],
)
def test_a_fault_is_found_by_the_check_that_is_for_it(
    store: DeviceStore, kind: type[nn.Module], check: str, said: str
) -> None:
    found = checked(store, kind, check)
    assert list(found) == [check]
    assert found[check].startswith(said)


def test_the_command_prints_a_table_and_exits_with_1_if_something_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"{__name__}.{ReadsLabels.__name__}"
    monkeypatch.setattr("mdaf.naming.allowed.STARTED_WITH", name)
    (tmp_path / "own/model").mkdir(parents=True)
    (tmp_path / "own/model/mine.yaml").write_text(f"defaults: [_common, _self_]\n_target_: {name}\n")
    monkeypatch.setattr("sys.argv", ["mdaf", "check", "--config-dir", "own", *DATA, "model=mine"])
    with pytest.raises(SystemExit) as ended:
        program.main()
    shown = capsys.readouterr().out.splitlines()
    assert ended.value.code == 1
    assert [line.split("  ")[0] for line in shown[1:-3]] == ["it is built", *CHECKS]
    [row] = [line for line in shown if line.startswith("labels ")]
    assert " ".join(row.split()) == ("labels WRONG the score depends on batch.labels, which is what it is to predict")
    assert shown[-3:-1] == ["how to mend it:", "  labels: do not read batch.labels"]
    assert shown[-1] == f"{1 + len(CHECKS)} checks, 1 wrong"


def test_a_narrow_terminal_shows_how_to_mend_what_is_wrong() -> None:
    found = [
        Finding(
            "scores are logits", WRONG, "all scores are between 0 and 1", "give logits: leave out the last sigmoid"
        ),
        Finding("replicas in lock-step are solo runs", OK, "3 replicas"),
    ]
    shown = "\n".join(screen_of(on_a_terminal(lambda: show(found), 80), 80))
    assert "how to mend it:\n  scores are logits: give logits: leave out the last sigmoid\n2 checks, 1 wrong" in shown
    assert "not shown" not in shown


def test_where_nothing_is_to_be_mended_nothing_is_said_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    show([Finding("padding", OK)])
    shown = capsys.readouterr().out
    assert "mend" not in shown
    assert shown.endswith("1 check, nothing is wrong\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model=mine"], "error: model=mine: no such option"),
        (["model._target_=mine.Model"], "error: model._target_: mine.Model is not on the list"),
        (["modle=din"], "error: modle=din: there is no group or key modle; did you mean model?"),
    ],
)
def test_what_cannot_be_tried_is_one_line_and_exit_code_2(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["mdaf", *words])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(said)


def config(name: str, root: Path, **model: Any) -> DictConfig:
    cfg = composed(*DATA, f"model={name}", f"data.root={root}", tiny=())
    return OmegaConf.merge(cfg, {"model": model})  # type: ignore[return-value]


def test_a_model_of_this_project_passes_and_one_that_is_fitted_is_only_built(tmp_path: Path) -> None:
    small = {"embedding": {"item": 4, "other": 4}, "head": [8], "match_features": True}
    assert [f for f in findings(config("din", tmp_path, **small)) if f.result != "ok"] == []
    assert [f.check for f in findings(config("boosted", tmp_path))] == ["it is built"]


def test_rounding_that_adam_makes_larger_is_no_fault_of_micro_batches(tmp_path: Path) -> None:
    assert [f for f in findings(config("mamba4rec", tmp_path)) if f.is_wrong] == []


SETS = """
import atexit

from torch import nn
from tests.sweeper.check.test_check import Sound


class Sets(Sound):
    def __init__(self, schema):
        super().__init__(schema)
        atexit.register(print, "what a program may say at its end")
        self.more = nn.ModuleDict({name: nn.Linear(4, 4) for name in {*"abcdefgh"}})

    def history(self, batch):
        history = super().history(batch)
        return sum(more(history) for _, more in sorted(self.more.items()))
"""


def test_a_model_that_draws_in_the_order_of_a_set_is_found_by_asking_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "of_sets.py").write_text(SETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.setenv("MDAF_ALLOW", "of_sets.*")
    monkeypatch.setattr("mdaf.naming.allowed.STARTED_WITH", "of_sets.*")
    (tmp_path / "own/model").mkdir(parents=True)
    (tmp_path / "own/model/mine.yaml").write_text("defaults: [_common, _self_]\n_target_: of_sets.Sets\n")
    monkeypatch.setattr("sys.argv", ["mdaf", "check", "--config-dir", "own", *DATA, "model=mine"])
    with pytest.raises(SystemExit) as ended:
        program.main()
    shown = capsys.readouterr().out
    assert ended.value.code == 1
    [row] = [" ".join(line.split()) for line in shown.splitlines() if line.startswith("the seed decides")]
    assert "WRONG the same seed gives other values in another process for more." in row
    assert "1 wrong" in shown.splitlines()[-1]
