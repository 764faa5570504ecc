"""What MDAF-Mamba promises, whatever its weights."""

from __future__ import annotations

from dataclasses import replace

import torch

from mdaf.data.schema import FIRST_ID, MATCH_ROWS, Batch, Field
from mdaf.model.layers.fusion import GatedFusion
from mdaf.sweeper.training.building.model_factory import builder
from tests.model.samples import SCHEMA, batch, mdaf
from tests.model.zoo import node


def test_the_gate_is_the_share_of_the_static_branch() -> None:
    fusion = GatedFusion(4)
    static, sequence = torch.full((1, 3, 4), 2.0), torch.full((1, 3, 4), 10.0)
    with torch.no_grad():
        fusion.score.bias.fill_(100.0)
    fused, gate = fusion(static, sequence)
    torch.testing.assert_close(gate, torch.ones(1, 3))
    torch.testing.assert_close(fused, static)
    fused, gate = GatedFusion(4)(static, sequence)
    torch.testing.assert_close(fused, gate[..., None] * static + (1 - gate[..., None]) * sequence)


def test_the_target_is_the_last_element_of_a_target_aware_sequence() -> None:
    def scores(target_aware: bool, samples: Batch) -> torch.Tensor:
        return mdaf(fusion="sequence", target_aware=target_aware)(samples).logits

    samples = batch([[3, 0, 5]])
    other = replace(samples, static={**samples.static, "item": samples.static["item"] % 28 + 2})
    assert (scores(True, other) - scores(True, samples)).abs().min() > 1e-5
    torch.testing.assert_close(scores(False, other), scores(False, samples))


def test_match_features_reach_the_score_only_where_they_are_switched_on() -> None:
    samples = batch([[6, 4]])
    flipped = dict(samples.sequence)
    flipped["match_category"] = torch.where(flipped["match_category"] > 0, 5 - flipped["match_category"], 0)
    other = replace(samples, sequence=flipped)
    assert (mdaf()(other).logits - mdaf()(samples).logits).abs().min() > 1e-5
    torch.testing.assert_close(mdaf(match_features=False)(other).logits, mdaf(match_features=False)(samples).logits)


def test_the_researchs_dimensions_on_its_vocabularies_leave_out_the_dead_tables() -> None:
    rows = {"user": 577_482, "item": 335_164, "category": 5_480, "hour": 24, "weekday": 7, "behaviour": 4, "gap": 38}
    schema = replace(
        SCHEMA,
        tables={"match": MATCH_ROWS} | {table: FIRST_ID + count for table, count in rows.items()},
        static=(*SCHEMA.static, Field("weekday", "weekday")),
    )
    with torch.device("meta"):
        model = builder(node("mdaf_mamba"), schema).construct()
    assert sum(p.numel() for p in model.parameters()) == 36_934_290  # of 45,969,365, 9,335,091 got no gradient
