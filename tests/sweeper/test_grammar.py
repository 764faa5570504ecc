"""Values in Hydra's override grammar: read back as what they were."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from sweeper.grammar import hydra_value


@pytest.mark.parametrize(
    "value", [0.1, 1e-05, 3, True, None, "mdaf_bst", "true", "1e3", "it's", "a b", "a\\", "x,y", "{z}", "", "inf"]
)
def test_hydra_reads_a_parameters_value_back_as_it_was(value: object) -> None:
    parsed = OverridesParser.create().parse_override(f"key={hydra_value(value)}").value()
    parsed = getattr(parsed, "text", parsed)
    assert parsed == value
    assert type(parsed) is type(value)
