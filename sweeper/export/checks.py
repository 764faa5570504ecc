"""Whether exported files score as the model does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from mdaf.data.schema import Batch
from mdaf.errors import UserError
from mdaf.model.ctr import CTRModel
from mdaf.sweeper.export.formats import Feed
from mdaf.sweeper.export.inputs import Input

#: The largest difference of a score, and of a logit between -1 and 1; of a larger logit, of its size.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Check:
    """What a check of exported files found.

    ``batches``, ``rows``  that were scored.
    ``largest``            the largest difference from the model, of each format.
    """

    batches: int
    rows: int
    largest: Mapping[str, float]


def compare(
    model: CTRModel,
    programs: Mapping[str, Callable[[Feed], list[np.ndarray]]],
    inputs: list[Input],
    batches: Iterable[Batch],
) -> Check:
    """Scores batches with the model and its own kernels, and with each program. UserError if they differ."""
    largest = dict.fromkeys(programs, 0.0)
    count = rows = 0
    for batch in batches:
        with torch.no_grad():
            logits = model(batch).logits[0].float()
        expected = logits.numpy(), torch.sigmoid(logits).numpy()
        feed = {one.name: one.taken_from(batch) for one in inputs}
        for name, program in programs.items():
            found = max(difference(*pair) for pair in zip(program(feed), expected, strict=True))
            if not found <= TOLERANCE:
                raise UserError(
                    f"format {name}: differs by {found:.1e} from the model's scores of {len(batch)} samples, expected "
                    f"at most {TOLERANCE:.0e}; nothing was written"
                )
            largest[name] = max(largest[name], found)
        count, rows = count + 1, rows + len(batch)
    return Check(count, rows, largest)


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference of two arrays of one shape, relative to values above 1; infinite if one is not finite."""
    if found.shape != expected.shape or not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return float("inf")
    return float((np.abs(found - expected) / np.maximum(1, np.abs(expected))).max(initial=0.0))
