"""An exported model scores as the model does, in any program, and appears whole or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mdaf.data.schema import Batch, Schema
from mdaf.errors import UserError
from mdaf.model.boosted import Boosted
from mdaf.model.ctr import CTRModel, Output
from mdaf.model.plain import PlainModel
from mdaf.sweeper.export.checks import TOLERANCE
from mdaf.sweeper.export.folder import export_model
from tests.model.samples import SCHEMA, batch
from tests.model.weighted import WEIGHTED, weighted_batch
from tests.model.zoo import MODELS, trained_by_gradient, zoo_model
from tests.processes import ROOT

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
pytest.importorskip("onnxscript", reason="the extra [onnx] is not installed")

LAYERS = "model.sequence.layers=1"
NEURAL = [name for name in MODELS if trained_by_gradient(name)]
WITHOUT = "model.without=[behaviour,hour]"
VARIANTS = [
    ("mdaf_mamba", "model.fusion=static"),
    ("mdaf_mamba2", "model.sequence.pooling=mean", WITHOUT),
    ("mdaf_bst", "model.fusion=concat", "model.sequence.target_aware=false"),
    ("dcnv3", "model.history=none"),
]
LENGTHS = [[0, 6, 2, 5], [3], [1, 0]]


def batches(schema: Schema) -> list[Batch]:
    """Batches of other sizes than the one that is traced."""
    make = weighted_batch if schema is WEIGHTED else batch
    return [make([lengths], seed) for seed, lengths in enumerate(LENGTHS)]


def fed(folder: Path, samples: Batch) -> dict[str, Tensor]:
    """The inputs that model.json asks for, by what it says alone."""
    every = {
        **{f"static.{name}": ids[0] for name, ids in samples.static.items()},
        **{f"sequence.{name}": ids[0] for name, ids in samples.sequence.items()},
        "lengths": samples.lengths[0],
    }
    asked = json.loads((folder / "model.json").read_text())["inputs"]
    return {one["name"]: every[one["name"]].to(getattr(torch, one["dtype"])) for one in asked}


def check_against(model: CTRModel, schema: Schema, folder: Path) -> None:
    """The files in ``folder``, loaded as another program loads them, give the model's logits and scores."""
    onnx = folder / "model.onnx"
    session = onnxruntime.InferenceSession(str(onnx)) if onnx.exists() else None
    program = torch.export.load(folder / "model.pt2").module() if (folder / "model.pt2").exists() else None
    for samples in batches(schema):
        feed = fed(folder, samples)
        with torch.no_grad():
            logits = model(samples).logits[0]
            expected = [logits.numpy(), torch.sigmoid(logits).numpy()]
            found = []
            if session is not None:
                found.append(session.run(["logit", "score"], {name: tensor.numpy() for name, tensor in feed.items()}))
            if program is not None:
                found.append([output.numpy() for output in program(feed)])
        for outputs in found:
            for one, other in zip(outputs, expected, strict=True):
                np.testing.assert_allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE)


def test_a_model_with_a_scan_is_exported_with_dynamic_batch_and_length(tmp_path: Path) -> None:
    model = zoo_model("mamba4rec", LAYERS)
    checked = export_model(model, SCHEMA, tmp_path / "out", rows=batches(SCHEMA))
    assert checked.largest["onnx"] <= TOLERANCE
    check_against(model, SCHEMA, tmp_path / "out")
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["model.json", "model.onnx", "out"]
    assert str(ROOT).encode() not in (tmp_path / "out/model.onnx").read_bytes()  # nothing of this machine


@pytest.mark.slow
@pytest.mark.parametrize("variant", [*((name,) for name in NEURAL), *VARIANTS], ids=" ".join)
def test_every_neural_model_is_exported(tmp_path: Path, variant: tuple[str, ...]) -> None:
    name, *overrides = variant
    model = zoo_model(name, *overrides)
    schema = SCHEMA.without(["behaviour", "hour"]) if WITHOUT in overrides else SCHEMA
    export_model(model, schema, tmp_path / "out", ["onnx", "torch"])
    check_against(model, SCHEMA, tmp_path / "out")


@pytest.mark.slow
def test_boosted_trees_are_exported(tmp_path: Path) -> None:
    schema = replace(SCHEMA, tables={**SCHEMA.tables, "user": 120, "item": 300})  # large tables are read by popularity
    model = Boosted(schema, trees=5, leaves=7, depth=3, samples_per_leaf=5, learning_rate=0.3, l2=1.0, rows=1000)
    samples = batch([[n % 7 for n in range(200)]])
    model.count(samples)
    model.fit(model.training_features(samples)[0], samples.labels[0], share=1.0, seed=0)
    export_model(model, schema, tmp_path / "out", ["onnx", "torch"], [samples])
    check_against(model, schema, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mdaf_mamba", "din", "deepfm"])
def test_numbers_and_lists_are_fed_as_ids_and_weights(tmp_path: Path, name: str) -> None:
    model = zoo_model(name, schema=WEIGHTED)
    export_model(model, WEIGHTED, tmp_path / "out")
    check_against(model, WEIGHTED, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mdaf_mamba", "mdaf_mamba2", "mdaf_bst"])
def test_a_long_history_is_scanned_as_exactly(tmp_path: Path, name: str) -> None:
    long = replace(SCHEMA, length=150)
    checked = export_model(zoo_model(name, schema=long), long, tmp_path / name)
    assert checked.largest["onnx"] <= TOLERANCE


class OneTable(CTRModel):
    """A table of items; ``odd`` decides what else is computed of its logits."""

    def __init__(self, odd: str) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.linspace(-1, 1, SCHEMA.tables["item"])[None])
        self.odd = odd

    def forward(self, batch: Batch) -> Output:
        logits = self.table.gather(1, batch.static["item"].long())
        if self.odd == "branches" and bool((logits > 0).any()):
            logits = logits * 2
        if self.odd == "fixed" and len(batch.labels[0]) == 3:
            logits = logits.view(1, 3)
        if self.odd == "differs" and torch.compiler.is_exporting():
            logits = logits + 10 * TOLERANCE
        return Output(logits)


class Plain(nn.Module):
    """A module of somebody's own, which knows no replicas."""

    def __init__(self) -> None:
        super().__init__()
        self.items = nn.Embedding(SCHEMA.tables["item"], 4, padding_idx=0)
        self.norm = nn.BatchNorm1d(4)
        self.norm.running_mean = torch.tensor([0.5, 0.0, -0.5, 1.0])
        self.score = nn.Linear(4, 1)

    def forward(self, batch: Batch) -> Tensor:
        events = self.items(batch.sequence["item"]).sum(dim=1)
        return self.score(self.norm(events * self.items(batch.static["item"]))).squeeze(-1)


def test_a_plain_module_is_exported_as_its_author_wrote_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = PlainModel(Plain())
    export_model(model, SCHEMA, tmp_path / "out", ["torch"])
    check_against(model, SCHEMA, tmp_path / "out")


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ("branches", "the model cannot be exported: "),
        ("fixed", "an operation of it takes the traced size of batch alone, expected any size"),
        ("differs", r"format torch: differs by .* from the model's scores of 3 samples, expected at most 1e-05"),
    ],
)
def test_a_model_that_cannot_be_exported_exactly_leaves_no_folder(tmp_path: Path, odd: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        export_model(OneTable(odd), SCHEMA, tmp_path / "out", ["torch"])
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_fed_with_what_it_reads_alone(tmp_path: Path) -> None:
    export_model(OneTable("plain"), SCHEMA, tmp_path / "out", ["torch"])
    said = json.loads((tmp_path / "out/model.json").read_text())
    assert said["inputs"] == [
        {"name": "static.item", "dtype": "int64", "axes": ["batch"], "field": "item", "table": "item"}
    ]
