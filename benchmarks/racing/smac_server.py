"""SMAC3 as a process of its own, since it needs another environment: ``PYTHON -I benchmarks/racing/smac_server.py``.

It imports nothing of this project. Each line of standard input is a search in JSON: ``{"seed", "runs", "space": {name:
[low, high, log]}, "known": [point]}``. It answers with one line for each run that it wants, ``{"run": point, "seed"}``,
reads that run's cost, and ends with ``{"incumbents": [point]}``, the best first.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from ConfigSpace import Configuration, ConfigurationSpace, Float
from smac import HyperparameterOptimizationFacade as Facade
from smac import Scenario
from smac.runhistory.dataclasses import TrialValue


def search(asked: dict[str, Any]) -> list[dict[str, float]]:
    """One search by SMAC's facade for hyperparameters with its own defaults; the points, the best by its means first.

    The known points come before its own initial design. Runs have seeds, so its intensifier repeats promising points.
    """
    space = ConfigurationSpace(seed=asked["seed"])
    space.add(*[Float(name, (low, high), log=log) for name, (low, high, log) in asked["space"].items()])
    with tempfile.TemporaryDirectory() as folder:
        scenario = Scenario(
            space,
            deterministic=False,
            n_trials=asked["runs"],
            seed=asked["seed"],
            output_directory=Path(folder),
        )
        known = [Configuration(space, values=point) for point in asked["known"]]
        smac = Facade(
            scenario,
            target_function=_never_called,
            initial_design=Facade.get_initial_design(scenario, additional_configs=known),
            logging_level=False,
            overwrite=True,
        )
        for _ in range(asked["runs"]):
            trial = smac.ask()
            say({"run": dict(trial.config), "seed": trial.seed})
            smac.tell(trial, TrialValue(cost=json.loads(sys.stdin.readline())), save=False)
        others = sorted(smac.runhistory.get_configs(), key=smac.runhistory.average_cost)
        best = smac.intensifier.get_incumbent()
    assert best is not None
    return [dict(best), *(dict(one) for one in others if one != best)]


def _never_called(config: Configuration, seed: int) -> float:
    raise AssertionError("runs are asked for and told")


def say(answer: dict[str, Any]) -> None:
    """A line of JSON for who asked."""
    _ANSWERS.write(json.dumps(answer, default=float) + "\n")
    _ANSWERS.flush()


# What SMAC prints must not come between the answers.
_ANSWERS = os.fdopen(os.dup(1), "w")


def main() -> None:
    """Answers searches until the input ends."""
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    for line in sys.stdin:
        say({"incumbents": search(json.loads(line))})


if __name__ == "__main__":
    main()
