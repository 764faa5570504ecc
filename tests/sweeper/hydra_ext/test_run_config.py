"""A config is checked as a whole, and identified by what it computes."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from mdaf.data.preparing.source import source_from
from mdaf.data.reading.file_hashes import FileHashes
from mdaf.errors import UserError
from mdaf.sweeper.hydra_ext.run_config import config_hash, validate
from tests.sweeper.tiny import composed


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("regularization.dropout=1.2", r"^regularization\.dropout: found 1\.2, expected a number in \[0, 1\)"),
        ("regularization.weight_decay=-1e-5", r"^regularization\.weight_decay: found -1e-05, expected >= 0"),
        ("regularization.label_smoothing=0.7", r"^regularization\.label_smoothing: found 0\.7, .* \[0, 0\.5\]"),
        ("training.learning_rate=0", r"^training\.learning_rate: found 0\.0, expected > 0"),
        ("training.epochs=0", r"^training\.epochs: found 0, expected >= 1"),
        ("model.sequence.hidden=0", r"^model\.sequence\.hidden: found 0, expected >= 1"),
        ("seed=-1", r"^seed: found -1, expected >= 0"),
        ("model.head=[8,0]", r"^model\.head: found 0, expected >= 1"),
        ("model.sequence.embedding.item=0", r"^model\.sequence\.embedding: found 0, expected >= 1"),
    ],
)
def test_a_value_out_of_bounds_is_named_with_what_was_found_and_what_is_expected(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        validate(composed(override))
    assert "\n" not in str(refusal.value)


def test_the_known_points_and_nulls_where_they_mean_something_are_valid() -> None:
    for overrides in (
        ["regularization=weak"],
        ["regularization=strong"],
        ["training.grad_clip_norm=null", "training.patience=null"],
    ):
        validate(composed(*overrides))


def test_a_missing_value_is_named() -> None:
    cfg = composed()
    OmegaConf.update(cfg, "training.epochs", "???")
    with pytest.raises(UserError, match=r"^training\.epochs: no value"):
        validate(cfg)


def test_the_config_hash_tells_computations_apart_and_ignores_where_they_run() -> None:
    base = config_hash(composed())
    assert config_hash(composed("sweep.trial=3", "sweep.study=x", "device.threads=1", "data.root=elsewhere")) == base
    changes = ("seed=1", "regularization=weak", "training.epochs=1", "data.seed=9", "data.history_order=shuffled")
    others = [config_hash(composed(o)) for o in changes]
    assert len({base, *others}) == 1 + len(changes)


def test_the_order_in_which_histories_are_read_leaves_the_prepared_data_as_they_are() -> None:
    in_time, shuffled = (source_from(composed(f"data.history_order={order}").data) for order in ("time", "shuffled"))
    assert in_time.fingerprint(FileHashes()) == shuffled.fingerprint(FileHashes())
