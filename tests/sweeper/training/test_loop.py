"""The training loop, through ``train`` on a tiny synthetic log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from sklearn.metrics import roc_auc_score

from mdaf.data.preparing.prepare import prepare_config
from mdaf.data.schema import MATCH_EQUALS
from mdaf.data.store.device_store import DeviceStore
from mdaf.data.store.event_store import EventStore
from mdaf.sweeper.runs.metric_columns import EpochMetrics
from mdaf.sweeper.training.building.from_config import build_replicas, hyperparameters, settings
from mdaf.sweeper.training.evaluating.evaluation import auc_of_kinds, predict
from mdaf.sweeper.training.loop import DivergedError, row_of, train
from mdaf.sweeper.training.optim.schedule import learning_rate_factor
from mdaf.sweeper.training.replicas import Hyperparameters, Replicas
from tests.sweeper.tiny import composed

CPU = torch.device("cpu")
TIMES = ("epoch_seconds", "batch_ms_p50", "batch_ms_p99")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EventStore:
    root = tmp_path_factory.mktemp("stores")
    return prepare_config(composed(f"data.root={root}").data)


class Notebook:
    """A callback that keeps what it hears, and asks to stop after ``until`` epochs."""

    def __init__(self, until: int = 99) -> None:
        self.until = until
        self.rows: list[EpochMetrics] = []
        self.weights: dict[str, torch.Tensor] = {}
        self.error: Exception | None = None

    def step(self, epoch: int, step: int, steps: int, loss: torch.Tensor) -> None:
        assert 1 <= step <= steps

    def epoch(self, row: EpochMetrics, replicas: Replicas, k: int, *, saves: bool) -> bool:
        self.rows.append({name: value for name, value in row.items() if name not in TIMES})
        self.weights = {name: p.detach()[k].clone() for name, p in replicas.model.named_parameters()}
        return row["epoch"] >= self.until

    def wait(self) -> None:
        """Nothing is being saved."""

    def failed(self, error: Exception) -> None:
        self.error = error


def trained(
    store: EventStore,
    *overrides: str,
    points: Sequence[Hyperparameters] = (),
    until: Sequence[int] = (),
    **changes: Any,
) -> list[Notebook]:
    """Trains the composed config, or the given points of it in lock-step, and returns what each replica left."""
    cfg = composed(*overrides)
    points = list(points) or [hyperparameters(cfg)]
    books = [Notebook(*until[k : k + 1]) for k in range(len(points))]
    replicas = build_replicas(cfg, store, points, CPU)
    chosen = settings(cfg, CPU)
    step = {name: changes.pop(name) for name in ("micro_batch", "positions", "grad_clip_norm") if name in changes}
    train(
        replicas,
        DeviceStore(store, CPU),
        replace(chosen, training=replace(chosen.training, **changes), step=replace(chosen.step, **step)),
        books,
    )
    return books


POINT = Hyperparameters(seed=1, dropout=0.2, weight_decay=1e-4, label_smoothing=0.05, learning_rate=5e-3)
POINTS = [
    POINT,
    replace(POINT, seed=2, dropout=0.0),
    replace(POINT, seed=3, dropout=0.5, weight_decay=0.0, label_smoothing=0.0, learning_rate=1e-3),
]


@pytest.fixture(scope="module")
def stacked(store: EventStore) -> list[Notebook]:
    """What the three points leave that are trained in lock-step."""
    return trained(store, points=POINTS)


def test_the_same_seed_gives_the_same_rows_and_weights_and_another_seed_gives_others(store: EventStore) -> None:
    first, second, other = (trained(store, f"seed={seed}")[0] for seed in (7, 7, 8))
    assert first.rows == second.rows
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)
    assert first.rows != other.rows


def test_each_replica_of_a_stack_learns_what_its_solo_run_learns(store: EventStore, stacked: list[Notebook]) -> None:
    for k, point in enumerate(POINTS):
        [alone] = trained(store, points=[point])
        for stacked_row, row in zip(stacked[k].rows, alone.rows, strict=True):
            assert stacked_row == pytest.approx(row, rel=1e-3, abs=1e-4)


def test_a_replica_that_stops_leaves_the_others_results_unchanged(store: EventStore, stacked: list[Notebook]) -> None:
    without = trained(store, points=POINTS, until=[99, 1, 99])
    assert [len(book.rows) for book in without] == [2, 1, 2]
    for k in (0, 2):
        assert without[k].rows[1] == pytest.approx(stacked[k].rows[1], rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        pytest.param(("regularization.reinit_embeddings=true",), marks=pytest.mark.slow),
        pytest.param(("training.decay=decoupled",), marks=pytest.mark.slow),
    ],
)
def test_putting_off_steps_of_tables_changes_rounding_alone(
    store: EventStore, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...]
) -> None:
    until = [99, 1, 99]
    points = [
        replace(point, reinit_embeddings="regularization.reinit_embeddings=true" in overrides) for point in POINTS
    ]
    overrides += ("training.train_sample=600",)
    at_once = trained(store, *overrides, points=points, until=until, micro_batch=100)
    monkeypatch.setattr("mdaf.sweeper.training.optim.replica_optimizers.DEFERRED_ROWS", 1)
    put_off = trained(store, *overrides, points=points, until=until, micro_batch=100)
    for one, other in zip(at_once, put_off, strict=True):
        assert len(one.rows) == len(other.rows)
        for name, weight in one.weights.items():
            torch.testing.assert_close(other.weights[name], weight, rtol=1e-3, atol=1e-4)


def test_a_replica_whose_loss_is_no_number_fails_alone(store: EventStore) -> None:
    sick = replace(POINT, learning_rate=1e30)
    healthy, diverged = trained(store, points=[POINT, sick], grad_clip_norm=None)
    assert isinstance(diverged.error, DivergedError)
    assert healthy.error is None
    assert len(healthy.rows) == 2


def test_cutting_a_batch_into_micro_batches_changes_rounding_alone(store: EventStore) -> None:
    some = "training.train_sample=600"
    [whole] = trained(store, some, points=[POINT], micro_batch=10_000)
    cut = [trained(store, some, points=[POINT], **size) for size in ({"micro_batch": 50}, {"positions": 200})]
    for pieces in cut:
        for row, other in zip(whole.rows, pieces[0].rows, strict=True):
            assert row == pytest.approx(other, rel=1e-3, abs=1e-3)


def test_training_learns_and_measures_its_auc_with_dropout_off(store: EventStore) -> None:
    [book] = trained(store, "training.epochs=6", points=[replace(POINT, dropout=0.4, learning_rate=2e-2)])
    last = book.rows[-1]
    assert last["train_auc"] > 0.7
    assert last["train_auc"] > last["running_train_auc"]
    assert last["train_val_gap"] == last["train_auc"] - last["val_auc"]
    assert 0 < last["gate_min"] <= last["gate_median"] <= last["gate_max"] < 1


def test_label_smoothing_raises_the_floor_of_the_training_loss(store: EventStore) -> None:
    sharp, smooth = trained(
        store, "training.epochs=3", points=[replace(POINT, label_smoothing=s, learning_rate=2e-2) for s in (0.0, 0.4)]
    )
    assert smooth.rows[-1]["train_loss"] > sharp.rows[-1]["train_loss"] + 0.05


def test_weight_decay_shrinks_weights_but_not_the_state_matrix(store: EventStore) -> None:
    free, decayed = trained(
        store,
        "training.decay=decoupled",
        points=[replace(POINT, weight_decay=w) for w in (0.0, 50.0)],
        until=[2, 2],
    )

    def size(book: Notebook, part: str) -> float:
        return sum(float(value.abs().sum()) for name, value in book.weights.items() if part in name)

    assert size(decayed, "input.weight") < 0.5 * size(free, "input.weight")
    assert size(decayed, "A_log") == pytest.approx(size(free, "A_log"), rel=0.1)


def test_patience_stops_after_so_many_epochs_without_a_better_auc(store: EventStore) -> None:
    [book] = trained(store, "training.epochs=6", points=[replace(POINT, learning_rate=1e-12)], patience=2)
    aucs = [row["val_auc"] for row in book.rows]
    assert len(aucs) < 6
    assert len(aucs) - 1 - aucs.index(max(aucs)) == 2


def test_clipping_bounds_the_gradient_of_each_replica_by_its_own_norm(store: EventStore) -> None:
    points = [replace(point, weight_decay=0.0) for point in POINTS[:2]]
    replicas = build_replicas(composed(), store, points, CPU)
    before = [p.detach().clone() for p in replicas.model.parameters()]
    for k, parameter in enumerate(replicas.model.parameters()):
        parameter.grad = torch.zeros_like(parameter)
        parameter.grad[0] = 1e-3 * (k + 1)
        parameter.grad[1] = 100.0
    replicas.step(clip_norm=1e-8)
    moved = [
        (p.detach() - q).abs().amax(dim=tuple(range(1, p.dim())))
        for p, q in zip(replicas.model.parameters(), before, strict=True)
    ]
    # Adam divides by the gradient's own size, but for its epsilon of 1e-8: a clipped norm of 1e-8 holds each back.
    assert all(float(m.max()) < 0.5 * POINT.learning_rate for m in moved)


def test_predictions_do_not_depend_on_how_rows_are_batched(store: EventStore) -> None:
    replicas = build_replicas(composed(), store, POINTS[:2], CPU)
    device_store = DeviceStore(store, CPU)
    rows = torch.stack([device_store.rows("validation"), device_store.rows("validation").flip(0)])
    few, many = (predict(replicas, device_store, "validation", rows, size) for size in (33, 4096))
    torch.testing.assert_close(few.logits, many.logits)
    assert few.gate is not None
    torch.testing.assert_close(
        few.gate[0], predict(replicas, device_store, "validation", rows.flip(1), 64).gate[0].flip(0)
    )


def test_the_learning_rate_warms_up_and_then_stays_or_falls_to_zero() -> None:
    constant = [learning_rate_factor(step, 10, "constant", 0.2) for step in range(10)]
    assert constant == [0.5, 1.0] + [1.0] * 8
    cosine = [learning_rate_factor(step, 10, "cosine", 0.2) for step in range(11)]
    assert cosine[:3] == [0.5, 1.0, 1.0]
    assert all(a > b for a, b in pairwise(cosine[2:]))
    assert cosine[-1] == pytest.approx(0.0)


def test_each_replica_has_a_plateau_of_its_own_and_the_rate_that_it_would_have_alone(store: EventStore) -> None:
    short = ("training.schedule=plateau", "training.epochs=5", "training.steps_per_epoch=1", "training.train_sample=50")
    points = [replace(POINT, learning_rate=rate, seed=seed) for rate, seed in ((0.3, 1), (1e-4, 2))]
    stacked = trained(store, *short, points=points)
    shares = []
    for point, book in zip(points, stacked, strict=True):
        [alone] = trained(store, *short, points=[point])
        assert [row["learning_rate"] for row in book.rows] == [row["learning_rate"] for row in alone.rows]
        shares.append([row["learning_rate"] / point.learning_rate for row in book.rows])
        aucs = [row["val_auc"] for row in book.rows]
        worse = [aucs[n] <= max(aucs[:n]) for n in range(1, 4)]  # the last epoch trains with what those before say
        assert shares[-1] == pytest.approx([1.0, 1.0, *(0.5 ** sum(worse[:n]) for n in (1, 2, 3))])
    assert shares[0] != shares[1]


def test_each_replica_tells_its_auc_on_items_of_the_history_and_on_new_ones(store: EventStore) -> None:
    gathered = DeviceStore(store, CPU)
    held, labels = gathered.item_in_history("validation"), gathered.labels("validation")
    assert held is not None
    for row in range(len(held)):
        batch = gathered.gather("validation", torch.tensor([[row]]))
        assert bool(held[row]) == bool((batch.sequence["match_item"] == MATCH_EQUALS).any())
    logits = torch.linspace(-1, 1, len(labels)).roll(7)
    found = auc_of_kinds(logits, labels, held)
    for name, kind in (("val_auc_in_history", held), ("val_auc_new_items", ~held)):
        assert found[name] == pytest.approx(roc_auc_score(labels[kind], logits[kind]))
    rows = [kept.rows[-1] for kept in trained(store, "training.epochs=1", points=POINTS[:2])]
    assert all(0 < row[name] < 1 for row in rows for name in found)
    assert rows[0]["val_auc_new_items"] != rows[1]["val_auc_new_items"]


def test_an_auc_of_rows_that_are_not_there_has_no_value(store: EventStore) -> None:
    logits, labels = torch.tensor([0.1, 0.2]), torch.tensor([0.0, 1.0])
    none = auc_of_kinds(logits, labels, torch.tensor([False, False]))
    row = row_of({"val_auc": 1.0, **none}, {"epoch": 1}, logits, labels)
    assert isinstance(row, dict)
    assert (row["val_auc_in_history"], row["val_auc_new_items"]) == (None, 1.0)
    assert set(auc_of_kinds(logits, labels, None).values()) == {None}
