"""Values in Hydra's override grammar."""

from __future__ import annotations

import json
import re
from typing import Any


def hydra_value(value: Any) -> str:
    """A parameter's value in Hydra's override grammar; a string is quoted where it would read as something else."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if not isinstance(value, str):
        return repr(value)
    plain = re.fullmatch(r"[A-Za-z_/][\w/.:-]*", value)
    if plain and value.lower() not in ("true", "false", "null", "nan", "inf", "infinity"):
        return value
    escaped = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), value)
    return f"'{escaped}'"
