"""A search by SMAC3, which lives in an environment of its own: ``benchmarks/racing/smac_server.py`` runs there.

```
python3.11 -m venv smac && smac/bin/pip install smac
python -m benchmarks.racing --smac smac/bin/python
```
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution

SERVER = Path(__file__).with_name("smac_server.py")

#: The interpreter that has SMAC3, in the environment so that a pool's processes know it.
PYTHON = "MDAF_BENCHMARK_SMAC"


def searched(
    run: Callable[[Mapping[str, float], int], float],
    space: Mapping[str, BaseDistribution],
    known: Sequence[Mapping[str, float]],
    runs: int,
    seed: int,
) -> list[dict[str, float]]:
    """The points that SMAC tried in so many runs, its incumbent first, the others by their mean value.

    ``run``  point and seed -> value, to be maximized.
    """
    server = _server()
    assert server.stdout is not None
    box = {name: _bounds(distribution) for name, distribution in space.items()}
    _say(server, {"seed": seed, "runs": runs, "space": box, "known": [dict(point) for point in known]})
    while line := server.stdout.readline():
        answer = json.loads(line)
        if "incumbents" in answer:
            found: list[dict[str, float]] = answer["incumbents"]
            return found
        _say(server, -run(answer["run"], answer["seed"]))
    raise RuntimeError(f"{SERVER.name} ended with exit code {server.wait()}")


def _bounds(distribution: BaseDistribution) -> tuple[float, float, bool]:
    assert isinstance(distribution, FloatDistribution)
    return distribution.low, distribution.high, distribution.log


def _say(server: subprocess.Popen[str], what: Any) -> None:
    assert server.stdin is not None
    server.stdin.write(json.dumps(what) + "\n")
    server.stdin.flush()


@cache
def _server() -> subprocess.Popen[str]:
    """One process for all searches of this one; it ends when its input does."""
    return subprocess.Popen(
        [os.environ[PYTHON], "-I", str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
