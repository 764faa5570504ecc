"""Hydra's own test suites, with this sweeper in the basic one's place.

Of ``LauncherTestSuite`` those tests are taken that ask nothing of the basic sweeper alone: the others want its return
value and a grid of jobs without any further override, which no optimizer gives (upstream's returns None as well).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.test_utils.launcher_common_tests import IntegrationTestSuite, LauncherTestSuite

from mdaf.sweeper.search.plugin import RegularizationSweeper
from tests.sweeper.tiny import ROOT

ONE_TRIAL = ["hydra/sweeper=study", "hydra.sweeper.n_trials=1"]


@pytest.fixture(autouse=True, scope="module")
def _plugins() -> None:
    """Plugins register their configs once, when they are found: before any state is put aside to be restored."""
    Plugins.instance()


@pytest.fixture(autouse=True)
def _found(hydra_restore_singletons: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """This tree's sweeper is found, here and in other processes, whatever is installed."""
    Plugins.instance().register(RegularizationSweeper)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # these suites look at what is raised


def test_hydra_discovers_the_sweeper() -> None:
    assert RegularizationSweeper in Plugins.instance().discover(Sweeper)


@pytest.mark.parametrize(("launcher_name", "overrides"), [("basic", ONE_TRIAL)])
class TestJobsOfASweep:
    """What ``LauncherTestSuite`` asks of any sweeper."""

    get_task_function = LauncherTestSuite.get_task_function
    test_failure_preserves_task_traceback = LauncherTestSuite.test_failure_preserves_task_traceback
    test_not_sweeping_hydra_overrides = LauncherTestSuite.test_not_sweeping_hydra_overrides
    test_sweep_1_job_strict_and_bad_key = LauncherTestSuite.test_sweep_1_job_strict_and_bad_key


@pytest.mark.slow  # a process for each program; another program's sweeps are tried in test_other_program every time
@pytest.mark.parametrize(("task_launcher_cfg", "extra_flags"), [({}, ["-m", "hydra/launcher=basic", *ONE_TRIAL])])
class TestProgramsThatSweep(IntegrationTestSuite):
    """Programs in files of their own; their jobs return nothing, so that a number is added: an optimizer needs one."""

    def generate_custom_cmd(self) -> Callable[..., list[str]]:
        def with_a_value(command: list[str], filename: str) -> list[str]:
            program = Path(filename)
            code, main = program.read_text().split("\nif __name__")
            program.write_text(f"{code.rstrip()}\n    return 0.0\n\n\nif __name__{main}")
            return command

        return with_a_value
