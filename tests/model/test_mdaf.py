"""What MDAF-Mamba promises, whatever its weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from data.schema import UNKNOWN, Batch
from model.fusion import GatedFusion
from model.mamba import Mamba
from tests.model.samples import SCHEMA, batch, mdaf

VARIANTS = [
    {},
    {"fusion": "concat"},
    {"fusion": "static"},
    {"fusion": "sequence"},
    {"target_aware": False},
    {"match_features": False},
    {"pooling": "mean"},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(f"{k}={x}" for k, x in v.items()) or "default")
def test_every_parameter_receives_a_gradient(variant: dict) -> None:
    model = mdaf(**variant)
    output = model(batch([[6, 4, 3, 5, 2, 6, 1, 4]]))
    output.logits.square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert without == []


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(f"{k}={x}" for k, x in v.items()) or "default")
def test_an_empty_history_gives_a_finite_score_and_finite_gradients(variant: dict) -> None:
    model = mdaf(**variant)
    logits = model(batch([[0, 0, 3]])).logits
    logits.sum().backward()
    assert torch.isfinite(logits).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(f"{k}={x}" for k, x in v.items()) or "default")
def test_more_padding_leaves_the_score_unchanged(variant: dict) -> None:
    model = mdaf(**variant)
    tight = batch([[3, 1, 0, 4]], length=4)
    wide = replace(tight, sequence={name: F.pad(ids, (0, 3)) for name, ids in tight.sequence.items()})
    torch.testing.assert_close(model(wide).logits, model(tight).logits)


def test_what_stands_in_padded_positions_is_never_read() -> None:
    model = mdaf()
    clean = batch([[3, 1, 0, 4]])
    padded = torch.arange(SCHEMA.length) >= clean.lengths[..., None]
    dirty = replace(clean, sequence={name: ids + 3 * padded for name, ids in clean.sequence.items()})
    torch.testing.assert_close(model(dirty).logits, model(clean).logits)


def test_the_padding_row_of_every_table_stays_zero_and_without_gradient() -> None:
    model = mdaf()
    model(batch([[3, 1, 0, 4]])).logits.sum().backward()
    for name, table in model.named_parameters():
        if "tables" in name:
            assert not table[:, 0].any(), name
            assert not table.grad[:, 0].any(), name


def test_changing_an_event_leaves_what_the_block_says_of_earlier_events_unchanged() -> None:
    torch.manual_seed(0)
    block = Mamba(hidden=16, state=4, conv=4, expand=2, scan="reference")
    x = torch.randn(1, 2, 7, 16)
    later = x.clone()
    later[:, :, 4] += 1.0
    lengths = torch.tensor([[7, 7]])
    before, after = block(x, lengths), block(later, lengths)
    torch.testing.assert_close(after[:, :, :4], before[:, :, :4], rtol=0, atol=0)
    assert (after[:, :, 4:] - before[:, :, 4:]).abs().amax(dim=-1).gt(1e-6).all()


def test_the_state_matrix_affects_the_score() -> None:
    model = mdaf()
    samples = batch([[6, 5, 4]])
    with torch.no_grad():  # states and steps large enough to see, which the initialization keeps small
        for block in model.sequence.blocks:
            block.mamba.delta_bias += 2.0
            block.mamba.select.weight *= 10.0
    before = model(samples).logits
    with torch.no_grad():
        for block in model.sequence.blocks:
            block.mamba.A_log += 1.0
    assert (model(samples).logits - before).abs().min() > 1e-4


def test_the_order_of_the_history_affects_the_score() -> None:
    model = mdaf()
    samples = batch([[6, 6]])
    backwards = replace(samples, sequence={name: ids.flip(-1) for name, ids in samples.sequence.items()})
    assert (model(backwards).logits - model(samples).logits).abs().min() > 1e-4


def test_asking_for_the_last_position_alone_gives_what_all_positions_hold_there() -> None:
    torch.manual_seed(0)
    block = Mamba(hidden=16, state=4, conv=4, expand=2, scan="reference")
    x, lengths = torch.randn(1, 3, 7, 16), torch.tensor([[7, 2, 5]])
    last = block(x, lengths, last=lengths - 1)
    everything = block(x, lengths)
    torch.testing.assert_close(last[0, :, 0], everything[0, torch.arange(3), lengths[0] - 1])


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


def test_unknown_ids_are_ordinary_inputs() -> None:
    samples = batch([[6, 4]])
    unknown = replace(samples, static={name: torch.full_like(ids, UNKNOWN) for name, ids in samples.static.items()})
    assert torch.isfinite(mdaf()(unknown).logits).all()


def test_the_researchs_dimensions_on_its_vocabularies_leave_out_the_dead_tables() -> None:
    from hydra import compose, initialize_config_module
    from hydra.utils import instantiate

    import conf

    conf.register()
    with initialize_config_module("conf"):
        node = compose("config").model
    tables = dict(SCHEMA.tables) | {"user": 577_484, "item": 335_166, "category": 5_482}
    with torch.device("meta"):
        model = instantiate(
            node, schema=None, _partial_=True, _convert_="all", _recursive_=False, _execution_whitelist_=("model.*",)
        )(schema=replace(SCHEMA, tables=tables))
    parameters = sum(p.numel() for p in model.parameters())
    assert 36_500_000 < parameters < 37_500_000  # 45,969,365 less the 9.3 million that never got a gradient
