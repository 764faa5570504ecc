"""The research's own results, as far as its record gives them."""

from __future__ import annotations

from typing import Any

from mdaf.conf.schema import Criteria, Tiers

CRITERIA = Criteria(
    min_val_auc=0.575, first_best_epoch=2, last_best_epoch=4, max_train_val_gap=0.20, max_train_auc=0.75, epoch=5
)
TIERS = Tiers(near_miss=0.005, healthy_gap=[0.03, 0.12])


def epoch(number: int, train_auc: float, val_auc: float, **others: float) -> dict[str, Any]:
    """A row of a history."""
    return {
        "epoch": number,
        "train_auc": train_auc,
        "val_auc": val_auc,
        "train_val_gap": train_auc - val_auc,
        **others,
    }


# Epoch 1, the only one that all three finished.
PHASE_1 = epoch(1, 0.5410, 0.5829, train_loss=0.1960, val_loss=0.1880, gate_mean=0.3003, gate_std=0.0396)
PHASE_3 = epoch(1, 0.5121, 0.5698, gate_mean=0.1666)
REVISED = epoch(1, 0.5265, 0.5814, train_loss=0.2651, val_loss=0.2520, gate_mean=0.1821, gate_std=0.1190)

_TRAINING = (0.5410, 0.6942, 0.7932, 0.8500, 0.8848)
PHASE_1_SEED_42 = [
    epoch(n, train, val)
    for n, (train, val) in enumerate(zip(_TRAINING, (0.5829, 0.5703, 0.5567, 0.5518, 0.5513), strict=True), start=1)
]
PHASE_1_SEED_123 = (0.5680, 0.5762, 0.5573, 0.5503, 0.5521)
