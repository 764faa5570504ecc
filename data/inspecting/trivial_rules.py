"""What trivial rules reach on a store's validation rows: computed once, and kept beside the store."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from mdaf.data.inspecting.baselines import COUNT, IN_HISTORY, POPULARITY, RECENCY, auc, rule_scores
from mdaf.data.store.batches.histories import blocks_of
from mdaf.data.store.event_store import EventStore
from mdaf.files.atomic import write_atomically

log = logging.getLogger(__name__)

FILE: Final = "trivial_rules.json"
FORMAT: Final = 1
MOST_BLOCKS: Final = 24  # of 8,192 rows, evenly over the split: an AUC's standard error is then about 0.001
IN_WORDS: Final = {
    RECENCY: "recency of category",
    COUNT: "count of category",
    IN_HISTORY: "the item's presence in the history",
    POPULARITY: "popularity of the item",
}
_NEEDS: Final = {
    RECENCY: "events and candidates have no category in common",
    COUNT: "events and candidates have no category in common",
    IN_HISTORY: "events and candidates have no item in common",
    POPULARITY: "candidates have no item",
}


@dataclass(frozen=True)
class TrivialRules:
    """Rule -> AUC on ``rows`` of the validation rows. A rule that does not apply to the data is absent."""

    aucs: Mapping[str, float]
    rows: int

    @property
    def best(self) -> tuple[str, float] | None:
        """The rule with the highest AUC, and that; None where no rule applies."""
        return max(self.aucs.items(), key=lambda one: one[1], default=None)

    def lines(self) -> list[str]:
        """Each rule with its AUC, or why it does not apply."""
        found = [f"{self.aucs[rule]:.4f}  {IN_WORDS[rule]}" for rule in IN_WORDS if rule in self.aucs]
        absent = [rule for rule in IN_WORDS if rule not in self.aucs]
        return [*found, *(f"{'-':<6}  {IN_WORDS[rule]}: left out, {_NEEDS[rule]}" for rule in absent)]


def trivial_rules(store: EventStore) -> TrivialRules:
    """The rules' AUCs. They are read where they were computed before; a file that is damaged is written anew."""
    file = Path(store.folder) / FILE
    if (known := _read(file, store.data_hash)) is not None:
        return known
    start = time.monotonic()
    found = _computed(store)
    seconds = time.monotonic() - start
    if seconds > 1:
        log.info("computed what trivial rules reach, once for this store: %.1f s", seconds)
    content = {"format": FORMAT, "data_hash": store.data_hash, "rows": found.rows, "aucs": dict(found.aucs)}
    try:
        write_atomically(file, lambda handle: handle.write(json.dumps(content, indent=1).encode()))
    except OSError as error:  # a store that may only be read: the next run computes it again
        log.info("%s: not kept beside the store: %s", FILE, error.strerror)
    return found


def not_learning_yet(val_auc: float, rule: str, reached: float) -> str | None:
    """What is said of a model that does not beat a trivial rule; None of one that does."""
    if not val_auc < reached:
        return None
    places = 2 if f"{val_auc:.2f}" != f"{reached:.2f}" else 4
    name = IN_WORDS.get(rule, "a trivial rule")
    return f"{val_auc:.{places}f}, below {reached:.{places}f} that {name} reaches: not learning yet"


def _computed(store: EventStore) -> TrivialRules:
    blocks = list(blocks_of(len(store.samples["validation"])))
    if len(blocks) > MOST_BLOCKS:
        blocks = [blocks[index] for index in np.linspace(0, len(blocks) - 1, MOST_BLOCKS).astype(int)]
    label = store.samples["validation"].label
    labels = np.concatenate([np.asarray(label[block]) for block in blocks]) if blocks else np.zeros(0)
    found = {rule: auc(labels, scores) for rule, scores in rule_scores(store, "validation", blocks=blocks).items()}
    return TrivialRules({rule: value for rule, value in found.items() if math.isfinite(value)}, len(labels))


def _read(file: Path, data_hash: str) -> TrivialRules | None:
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
        if (content["format"], content["data_hash"]) != (FORMAT, data_hash):
            return None
        aucs = {rule: float(content["aucs"][rule]) for rule in IN_WORDS if rule in content["aucs"]}
        rows = int(content["rows"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return TrivialRules(aucs, rows) if all(0 <= value <= 1 for value in aucs.values()) else None
