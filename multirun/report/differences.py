"""How two sets of figures are compared: those of a report with those that are computed again."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdaf.errors import UserError
from mdaf.sweeper.runs.metric_columns import ON_TEST

RELATIVE = 1e-9  # of what is computed: the rounding of another processor. What is read must be the same exactly
NOT_IN_0_1 = ("test_loss", "test_ece")  # figures that a report of that version does not have


@dataclass(frozen=True)
class Difference:
    """A figure that is not what the runs give."""

    figure: str
    reported: Any
    found: Any

    def __str__(self) -> str:
        return f"{self.figure}: the report says {shown(self.reported)}, the runs give {shown(self.found)}"


@contextmanager
def explained(file: Path) -> Iterator[None]:
    """UserError for whatever a report of another form makes fail."""
    try:
        yield
    except UserError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"{file} is damaged: its inputs or figures are not of the form that was written "
            f"({type(error).__name__}: {error}); write the report again"
        ) from error


def shown(value: Any) -> str:
    """A value in one short line."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def as_read(content: Any) -> Any:
    """Plain values as a reader of their JSON finds them: a figure that does not exist is null, as JSON has no NaN."""
    return json.loads(json.dumps(content), parse_constant=lambda _: None)


def count(figures: Any) -> int:
    """How many numbers there are."""
    if isinstance(figures, Mapping):
        return sum(count(value) for name, value in figures.items() if name != "from")
    if isinstance(figures, list):
        return sum(map(count, figures))
    return int(isinstance(figures, int | float) and not isinstance(figures, bool))


def differences(reported: Any, found: Any, name: str) -> Iterator[Difference]:
    """Every leaf that differs, by its dotted name."""
    if isinstance(reported, Mapping) and isinstance(found, Mapping):
        for key in {**reported, **found}:
            if key in reported or key not in NOT_IN_0_1:
                yield from differences(reported.get(key), found.get(key), f"{name}.{key}")
    elif isinstance(reported, list) and isinstance(found, list) and len(reported) == len(found):
        for index, (a, b) in enumerate(zip(reported, found, strict=True)):
            yield from differences(a, b, f"{name}[{index}]")
    elif not _same(reported, found, exactly=name.startswith("runs.") and name.rpartition(".")[2] not in ON_TEST):
        yield Difference(name, reported, found)


def _same(a: Any, b: Any, exactly: bool) -> bool:
    if exactly:
        return bool(a == b)
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (a, b))
    return math.isclose(a, b, rel_tol=RELATIVE, abs_tol=1e-15) if numbers else bool(a == b)
