"""What every model of the zoo promises, whatever its weights; a new YAML in ``conf/model`` is held to it, too."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from mdaf.data.schema import FIRST_ID, UNKNOWN, Field
from mdaf.model.layers.attention import Attention
from mdaf.model.layers.basic import dropout_keys, set_dropout
from mdaf.model.layers.encoder import ENCODERS
from mdaf.model.ops.batched_matmul import cpu_factors_in
from mdaf.model.stack import stack
from tests.model.samples import SCHEMA, batch
from tests.model.zoo import MODELS, is_table, node, part, trained_by_gradient, variants, zoo_model

LEARNED = [name for name in MODELS if trained_by_gradient(name)]
every_variant = pytest.mark.parametrize("variant", variants(), ids=" ".join)
every_model = pytest.mark.parametrize("name", LEARNED)

ENCODER_ARGUMENTS = {
    "mamba": {"layers": 2, "state": 4, "conv": 4, "expand": 2, "scan": "reference"},
    "mamba2": {"layers": 2, "state": 4, "conv": 4, "expand": 2, "head": 8, "chunk": 4},
    "transformer": {"layers": 2, "heads": 2, "expand": 2},
}


def test_the_zoo_holds_what_the_comparison_needs() -> None:
    wanted = {"mdaf_mamba", "mdaf_bst", "mdaf_mamba2", "dcnv3", "dcnv2", "mamba4rec", "bst", "din", "deepfm"}
    assert wanted <= set(LEARNED)


@every_variant
def test_every_parameter_receives_a_gradient(variant: tuple[str, ...]) -> None:
    model = zoo_model(*variant)
    model(batch([[6, 4, 3, 5, 2, 6, 1, 4]])).logits.square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert without == []


@every_variant
def test_an_empty_history_gives_a_finite_score_and_finite_gradients(variant: tuple[str, ...]) -> None:
    model = zoo_model(*variant)
    logits = model(batch([[0, 0, 3]])).logits
    logits.sum().backward()
    assert torch.isfinite(logits).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@every_variant
def test_padding_is_inert_however_much_there_is_and_whatever_stands_in_it(variant: tuple[str, ...]) -> None:
    model = zoo_model(*variant)
    tight = batch([[3, 1, 0, 4]], length=4)
    wide = {name: F.pad(ids, (0, 3)) for name, ids in tight.sequence.items()}
    padded = torch.arange(7) >= tight.lengths[..., None]
    dirty = {name: ids + 3 * padded for name, ids in wide.items()}
    expected = model(tight).logits
    torch.testing.assert_close(model(replace(tight, sequence=wide)).logits, expected)
    torch.testing.assert_close(model(replace(tight, sequence=dirty)).logits, expected)


@every_variant
def test_the_padding_row_of_every_table_stays_zero_and_without_gradient(variant: tuple[str, ...]) -> None:
    model = zoo_model(*variant)
    model(batch([[3, 1, 0, 4]])).logits.sum().backward()
    tables = {name: table for name, table in model.named_parameters() if is_table(name)}
    assert tables
    for name, table in tables.items():
        assert not table[:, 0].any(), name
        assert not table.grad[:, 0].any(), name


@every_variant
def test_each_replica_of_a_stack_scores_and_learns_as_alone_with_its_own_dropout(variant: tuple[str, ...]) -> None:
    models = [zoo_model(*variant, seed=seed) for seed in range(3)]
    stacked = stack(models)
    samples = batch([[3, 5, 0, 6], [6, 1, 2, 4], [0, 0, 1, 5]])
    rates, seeds = torch.tensor([0.1, 0.0, 0.4]), [11, 22, 33]
    set_dropout(stacked, rates, dropout_keys(stacked, seeds))
    output = stacked(samples)
    output.logits.square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in stacked.named_parameters()}
    for k, model in enumerate(models):
        set_dropout(model, rates[k : k + 1], dropout_keys(model, seeds[k : k + 1]))
        alone = model(part(samples, k))
        alone.logits.square().sum().backward()
        torch.testing.assert_close(output.logits[k], alone.logits[0])
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(gradients[name][k], parameter.grad[0], rtol=1e-4, atol=1e-5)


@every_model
def test_dropout_is_drawn_in_training_alone(name: str) -> None:
    model, samples = zoo_model(name), batch([[3, 5, 0, 6]])
    set_dropout(model, torch.tensor([0.5]), dropout_keys(model, [1]))
    drawn = model(samples).logits
    assert not torch.allclose(drawn, model.eval()(samples).logits)


@every_model
def test_a_sample_is_scored_alike_whatever_else_is_in_its_batch(name: str) -> None:
    model, samples = zoo_model(name), batch([[6, 4, 0, 2]])
    alone = replace(
        samples,
        static={field: ids[:, 1:2] for field, ids in samples.static.items()},
        sequence={field: ids[:, 1:2] for field, ids in samples.sequence.items()},
        lengths=samples.lengths[:, 1:2],
        labels=samples.labels[:, 1:2],
    )
    torch.testing.assert_close(model(alone).logits, model(samples).logits[:, 1:2])


@every_model
def test_unknown_ids_are_ordinary_inputs(name: str) -> None:
    samples = batch([[6, 4]])
    unknown = replace(samples, static={name: torch.full_like(ids, UNKNOWN) for name, ids in samples.static.items()})
    assert torch.isfinite(zoo_model(name)(unknown).logits).all()


@every_model
def test_the_candidate_and_the_history_reach_the_score(name: str) -> None:
    model, samples = zoo_model(name), batch([[6, 4, 5]])
    other_item = replace(samples, static={**samples.static, "item": samples.static["item"] % 28 + 2})
    events = samples.sequence["item"]
    other_events = {**samples.sequence, "item": torch.where(events > 0, events % 28 + 2, 0)}
    score = model(samples).logits
    assert (model(other_item).logits - score).abs().min() > 1e-6
    assert (model(replace(samples, sequence=other_events)).logits - score).abs().min() > 1e-6


@every_model
def test_the_order_of_the_history_matters_to_those_that_encode_it_as_a_sequence(name: str) -> None:
    model, samples = zoo_model(name), batch([[6, 6]])
    backwards = replace(samples, sequence={field: ids.flip(-1) for field, ids in samples.sequence.items()})
    change = (model(backwards).logits - model(samples).logits).abs()
    if "sequence" in node(name):
        assert change.min() > 1e-5
    else:
        assert change.max() < 1e-5


@pytest.mark.parametrize("name", [name for name in LEARNED if "state" in node(name).get("sequence", {})])
def test_the_state_matrix_affects_the_score(name: str) -> None:
    model, samples = zoo_model(name), batch([[6, 5, 4]])
    mixers = [module for module in model.modules() if hasattr(module, "A_log")]
    with torch.no_grad():  # states and steps large enough to see, which the initialization keeps small
        for mixer in mixers:
            mixer.delta_bias += 2.0
            if hasattr(mixer, "select"):
                mixer.select.weight *= 10.0
    before = model(samples).logits
    with torch.no_grad():
        for mixer in mixers:
            mixer.A_log += 1.0
    assert (model(samples).logits - before).abs().min() > 1e-6


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_is_causal_where_it_says_so(kind: str) -> None:
    torch.manual_seed(0)
    encoder = ENCODERS[kind](16, 7, **ENCODER_ARGUMENTS[kind])
    x, lengths = torch.randn(1, 2, 7, 16), torch.tensor([[7, 6]])
    later = x.clone()
    later[:, :, 4] += 1.0 + torch.randn(16)
    before, after = encoder(x, lengths), encoder(later, lengths)
    assert (after[:, :, 4:6] - before[:, :, 4:6]).abs().amax(dim=-1).gt(1e-5).all()
    if encoder.causal:
        torch.testing.assert_close(after[:, :, :4], before[:, :, :4], rtol=0, atol=0)
    else:
        assert (after[:, :, :4] - before[:, :, :4]).abs().amax(dim=-1).gt(1e-5).all()


@pytest.mark.parametrize("kind", ENCODERS)
def test_asking_for_the_last_position_alone_gives_what_all_positions_hold_there(kind: str) -> None:
    torch.manual_seed(0)
    encoder = ENCODERS[kind](16, 7, **ENCODER_ARGUMENTS[kind])
    x, lengths = torch.randn(1, 3, 7, 16), torch.tensor([[7, 2, 5]])
    last = encoder(x, lengths, last=lengths - 1)
    torch.testing.assert_close(last[0, :, 0], encoder(x, lengths)[0, torch.arange(3), lengths[0] - 1])


def test_attention_over_more_sequences_than_one_call_takes_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer, x, lengths = Attention(8, 2), torch.randn(1, 5, 4, 8), torch.tensor([[4, 0, 2, 1, 3]])
    expected = layer(x, lengths)
    monkeypatch.setattr("mdaf.model.layers.attention.MOST_SEQUENCES", 2)
    torch.testing.assert_close(layer(x, lengths), expected)


@every_model
@pytest.mark.parametrize("narrow", [partial(torch.autocast, "cpu"), cpu_factors_in], ids=["autocast", "factors"])
def test_in_bfloat16_the_score_stays_close_finite_and_in_float32(
    name: str, narrow: Callable[[torch.dtype], AbstractContextManager[None]]
) -> None:
    model, samples = zoo_model(name), batch([[6, 4, 0, 2]])
    expected = model(samples).logits
    with narrow(torch.bfloat16):
        output = model(samples)
    assert {scores.dtype for scores in (output.logits, *output.branches)} == {torch.float32}
    output.logits.sum().backward()
    torch.testing.assert_close(output.logits, expected, rtol=0.05, atol=0.1)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_tri_bce_asks_for_a_loss_of_both_cross_networks_whose_mean_is_the_score() -> None:
    samples = batch([[6, 4, 0, 2]])
    output = zoo_model("dcnv3", "model.tri_bce=true")(samples)
    assert len(output.branches) == 2
    torch.testing.assert_close((output.branches[0] + output.branches[1]) / 2, output.logits)
    assert zoo_model("dcnv3")(samples).branches == ()


def test_what_is_left_out_is_not_read() -> None:
    samples = batch([[6, 4]])
    fields = {"behaviour", "hour"}
    less = replace(
        samples,
        static={name: ids for name, ids in samples.static.items() if name not in fields},
        sequence={name: ids for name, ids in samples.sequence.items() if name not in fields},
    )
    for name in LEARNED:
        model = zoo_model(name, "model.without=[behaviour,hour]")
        assert torch.isfinite(model(less).logits).all()
        assert not any("behaviour" in table or "hour" in table for table, _ in model.named_parameters())


@pytest.mark.parametrize("name", ["din", "mamba4rec"])
def test_a_model_of_candidate_against_history_needs_a_field_of_both(name: str) -> None:
    with pytest.raises(ValueError, match="candidate"):
        zoo_model(name, schema=replace(SCHEMA, target={}))


ODD = ("type", "items", "training", "widths", "a.b", "a%2Eb", "length of it", "keys", "größe", "")


@pytest.mark.parametrize("name", ["boosted", "deepfm", "din"])
def test_a_field_may_be_called_as_torch_calls_other_things(name: str) -> None:
    more = tuple(Field(field, field) for field in ODD)
    schema = replace(SCHEMA, tables={**SCHEMA.tables, **dict.fromkeys(ODD, 80)}, static=(*SCHEMA.static, *more))
    model = zoo_model(name, schema=schema)
    plain = batch([[3, 0, 4]])
    ids = torch.randint(FIRST_ID, 80, plain.lengths.shape)
    samples = replace(plain, static={**plain.static, **dict.fromkeys(ODD, ids)})
    logits = model(samples).logits
    assert torch.isfinite(logits).all()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    model.load_state_dict(zoo_model(name, schema=schema).state_dict())
    assert torch.equal(model(samples).logits, logits)
