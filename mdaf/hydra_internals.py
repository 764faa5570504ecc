"""All uses of private names of Hydra in this project, under public names. To support another version, start here.

The private names of hydra-optuna-sweeper are in ``mdaf.sweeper.hydra_ext.optuna_sweeper_internals``, which imports
Optuna; this module does not. ``tests/mdaf/test_hydra_internals.py`` tests each name with the installed version.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from hydra._internal.config_repository import ConfigRepository
from hydra._internal.core_plugins.basic_launcher import BasicLauncher as BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.execution_policy import _get_active_execution_whitelist
from hydra._internal.utils import get_args_parser
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn
from hydra.utils import UNSAFE_DISABLE_EXECUTION_CHECKS

BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"  # the ``_target_`` of a grid's sweeper


_all_options = ConfigRepository.get_group_options


def list_options_alone(is_option: Callable[[str], bool]) -> None:
    """Leaves everything that is no option out of every list of options that Hydra shows. The last call counts.

    Help, tab completion, ``glob(*)`` and the errors of Hydra all ask ``ConfigRepository`` for such a list; choosing and
    loading a file do not go through it.
    """

    def listed(
        self: ConfigRepository, group_name: str, results_filter: ObjectType | None = ObjectType.CONFIG
    ) -> list[str]:
        return [name for name in _all_options(self, group_name, results_filter) if is_option(name)]

    ConfigRepository.get_group_options = listed  # type: ignore[method-assign]


def command_line_parser() -> argparse.ArgumentParser:
    """Hydra's parser of command lines."""
    return get_args_parser()


def jobs_of_grid(overrides: list[Override]) -> list[list[str]]:
    """The overrides of each job of a grid, in the order in which Hydra's own sweeper launches them."""
    return [list(job) for batch in BasicSweeper.split_arguments(overrides, None) for job in batch]


def value_and_text(element: Any) -> tuple[Any, str]:
    """An element of a sweep as a value, and as the text that Hydra's own sweeper passes to a job."""
    return Override._convert_value(element), Override._get_value_element_as_str(element)


def returned(result: JobReturn) -> Any:
    """A job's return value. Does not raise the job's exception."""
    return result._return_value


def allowed_by_the_program() -> tuple[str, ...]:
    """What the running program's own code allows configs to name: ``hydra.main(execution_whitelist=...)``; * is all."""
    active: Any = _get_active_execution_whitelist()
    return ("*",) if active is UNSAFE_DISABLE_EXECUTION_CHECKS else tuple(active or ())


def start_ray(settings: Any) -> None:
    """Joins or starts Ray's cluster, as the launcher for Ray does. Raises ImportError if that is not installed."""
    from hydra_plugins.hydra_ray_launcher._launcher_util import start_ray as start

    start(settings)
