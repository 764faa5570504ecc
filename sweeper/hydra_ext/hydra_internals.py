"""Every private name of Hydra that this project uses, behind plain names, but for two rooms of their own.

``mdaf.conf.options`` patches Hydra's ``ConfigRepository``, since ``conf`` imports nothing of the sweeper. The private
names of hydra-optuna-sweeper are in ``optuna_sweeper_internals``, which imports Optuna; this module does not.
``tests/sweeper/hydra_ext/test_hydra_internals.py`` has a test for each name in the version that is installed.
"""

from __future__ import annotations

import argparse
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher as BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn

BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"  # the ``_target_`` of a grid's sweeper


def command_line_parser() -> argparse.ArgumentParser:
    """Hydra's parser of its flags and of overrides."""
    return get_args_parser()


def jobs_of_grid(overrides: list[Override]) -> list[list[str]]:
    """The overrides of each job of a grid, in the order in which Hydra's own sweeper launches them."""
    return [list(job) for batch in BasicSweeper.split_arguments(overrides, None) for job in batch]


def value_and_text(element: Any) -> tuple[Any, str]:
    """An element of a sweep as a value, and as the text that Hydra's own sweeper passes on."""
    return Override._convert_value(element), Override._get_value_element_as_str(element)


def returned(result: JobReturn) -> Any:
    """What a job returned, without raising what it raised."""
    return result._return_value


def start_ray(settings: Any) -> None:
    """Joins or starts Ray's cluster, as the launcher for Ray does. ImportError where that is not installed."""
    from hydra_plugins.hydra_ray_launcher._launcher_util import start_ray as start

    start(settings)
