"""Numbers and lists in every model: the vector of such a cell is the sum of weight * row, and learns as that sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mdaf.data.schema import MATCH_EQUALS, UNKNOWN, Batch, Field, weights_of
from mdaf.model.layers.fields import Tables, attribute
from mdaf.model.layers.sequence import SequenceBranch
from mdaf.model.stack import stack
from mdaf.sweeper.training.optim.deferred_adam import DeferredAdam
from tests.model.test_zoo import LEARNED
from tests.model.weighted import MEMBERS, WEIGHTED, weighted_batch
from tests.model.zoo import is_table, part, zoo_model

every_model = pytest.mark.parametrize("name", LEARNED)


def one_hot_vectors(self: Tables, field: Field, ids: Mapping[str, Tensor]) -> Tensor:
    """The vectors of a field without any lookup: products of tables and one-hot ids, times their weights."""
    table = self[attribute(field.table)].weight
    found = ids[field.name]
    hot = F.one_hot(found.long(), table.shape[1]).to(table.dtype)
    if WEIGHTED.weighted(field):
        hot = torch.einsum("r...kn,r...k->r...n", hot, ids[weights_of(field.name)])
    return torch.einsum("r...n,rnd->r...d", hot, table)


@every_model
def test_scores_and_gradients_equal_those_of_one_hot_products(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = stack([zoo_model(name, seed=seed, schema=WEIGHTED) for seed in range(2)])
    samples = weighted_batch([[3, 0, 6, 1], [5, 2, 0, 4]])
    scores = model(samples).logits
    scores.square().sum().backward()
    gradients = {at: p.grad.clone() for at, p in model.named_parameters() if p.grad is not None}
    assert {f"{table}.weight" for table in ("price", "genres")} <= {".".join(at.split(".")[-2:]) for at in gradients}
    model.zero_grad()
    monkeypatch.setattr(Tables, "_vectors", one_hot_vectors)
    monkeypatch.setattr(Tables, "factors", Tables.side_by_side)
    expected = model(samples).logits
    torch.testing.assert_close(scores, expected)
    expected.square().sum().backward()
    for at, parameter in model.named_parameters():
        torch.testing.assert_close(gradients[at], parameter.grad, rtol=1e-4, atol=1e-5, msg=at)


@every_model
def test_what_stands_in_padding_and_in_other_replicas_is_inert(name: str) -> None:
    models = [zoo_model(name, seed=seed, schema=WEIGHTED) for seed in range(2)]
    samples = weighted_batch([[3, 0, 6, 1], [5, 2, 0, 4]])
    stacked = stack(models)
    scores = stacked(samples).logits
    scores.sum().backward()
    for at, table in stacked.named_parameters():
        if is_table(at):
            assert not table.grad[:, 0].any(), at
    padded = torch.arange(6) >= samples.lengths[..., None]
    dirty = {at: ids + (padded if ids.dim() == 3 else padded[..., None]) for at, ids in samples.sequence.items()}
    torch.testing.assert_close(stacked(replace(samples, sequence=dirty)).logits, scores)
    for k, model in enumerate(models):
        torch.testing.assert_close(model(part(samples, k)).logits[0], scores[k])


@every_model
def test_each_weight_of_candidate_and_history_reaches_the_score(name: str) -> None:
    model, samples = zoo_model(name, schema=WEIGHTED), weighted_batch([[6, 4, 5]])
    scores = model(samples).logits

    def doubled(found: Mapping[str, Tensor], key: str) -> dict[str, Tensor]:
        return {**found, key: found[key] * 2}

    for field in ("price", "genres"):
        key = weights_of(field)
        event = model(replace(samples, sequence=doubled(samples.sequence, key))).logits
        candidate = model(replace(samples, static=doubled(samples.static, key))).logits
        assert (event - scores).abs().max() > 1e-6, field
        assert (candidate - scores).abs().max() > 1e-6, field


def with_candidate(samples: Batch) -> Batch:
    """The samples with the candidate as one more event, written cell by cell."""
    wide = {name: torch.cat([ids, torch.zeros_like(ids[:, :, :1])], dim=2) for name, ids in samples.sequence.items()}
    for replica, lengths in enumerate(samples.lengths.tolist()):
        for row, end in enumerate(lengths):
            for name, ids in wide.items():
                field = name.partition("/")[0]
                if field in WEIGHTED.target:
                    ids[replica, row, end] = samples.static[name][replica, row]
                elif field.startswith("match_"):
                    ids[replica, row, end] = MATCH_EQUALS
                elif field in ("dwell", "tags"):  # unknown: one row, with weight 1
                    ids[replica, row, end, 0] = 1 if name != field else UNKNOWN
                else:
                    ids[replica, row, end] = UNKNOWN
    return replace(samples, sequence=wide, lengths=samples.lengths + 1)


def test_the_candidate_is_appended_to_the_events_with_its_weights() -> None:
    kind: dict[str, Any] = {"kind": "mamba", "layers": 1, "state": 4, "conv": 4, "expand": 2, "scan": "reference"}
    embedding = {"item": 8, "other": 4}
    aware, plain = (
        SequenceBranch(
            schema, embedding=embedding, hidden=16, pooling="last", target_aware=target, match_features=True, **kind
        )
        for schema, target in ((WEIGHTED, True), (replace(WEIGHTED, length=WEIGHTED.length + 1), False))
    )
    plain.load_state_dict(aware.state_dict())
    samples = weighted_batch([[3, 0, 6, 1]])
    torch.testing.assert_close(aware(samples), plain(with_candidate(samples)))


def test_a_field_is_the_sum_of_its_rows_by_hand() -> None:
    tables = Tables(WEIGHTED, WEIGHTED.static, 4)
    samples = weighted_batch([[2, 3]])
    found = tables.side_by_side(WEIGHTED.static, samples.static)
    assert torch.equal(found, tables.factors(WEIGHTED.static, samples.static))
    place = 4 * [field.name for field in WEIGHTED.static].index("genres")
    rows, weights = tables["genres"].weight[0], samples.static[weights_of("genres")]
    for row in range(2):
        by_hand = sum(weights[0, row, k] * rows[samples.static["genres"][0, row, k]] for k in range(MEMBERS))
        torch.testing.assert_close(found[0, row, place : place + 4], by_hand)


def test_deferred_adam_steps_weighted_rows_as_adam_does() -> None:
    kept, deferred = (Tables(WEIGHTED, WEIGHTED.static, 4) for _ in range(2))
    deferred.load_state_dict(kept.state_dict())
    kept, deferred = stack([kept, kept]), stack([deferred, deferred])
    adam = torch.optim.Adam(kept.parameters(), lr=0.1, weight_decay=0.01)
    embeddings = dict(deferred.items())
    rows = DeferredAdam(embeddings, [0.01, 0.01], decoupled=False, device=torch.device("cpu"))  # type: ignore[arg-type]
    for step in range(4):
        samples: Batch = weighted_batch([[2, 3], [1, 4]], seed=step)
        rows.begin_step([0.1, 0.1])
        for tables in (kept, deferred):
            tables.side_by_side(WEIGHTED.static, samples.static).square().sum().backward()
        adam.step()
        adam.zero_grad()
        rows.step(torch.ones(2))
    rows.settle()
    for at, table in kept.named_parameters():
        torch.testing.assert_close(dict(deferred.named_parameters())[at], table, rtol=1e-4, atol=1e-5)
