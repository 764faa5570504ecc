"""Imported before any test imports torch."""

import gc
import os
import sys
from collections.abc import Iterator

# Tests are tiny, and run beside each other: a second thread costs more than it brings.
for threads in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(threads, "1")

# As in an environment that is activated: lines to type name programs, not their files.
os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])

gc.disable()  # until all tests are collected: nearly everything that is imported stays

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

import mdaf  # noqa: E402, F401 - sets how OpenMP waits
from mdaf.hydra_internals import compose_fast  # noqa: E402

# Without a GPU, Triton's kernels run in its interpreter; it must be told so before it is imported.
INTERPRETED = not torch.cuda.is_available()
if INTERPRETED:
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Each has a smaller shape or another kernel beside it that is interpreted every time; a GPU runs all of them.
LONG_WHEN_INTERPRETED = (
    "[200-",
    "_gives_what_its_solo_run_gives[",
    "_row_that_is_read_is_up_to_date_",
    "_share_a_program_give_what_rows_alone_give[triton-1",
    "[shape1-relu-",
    "[shape1-leaky_relu-",
    "[shape1-gelu-",
    "[True-triton",
)

FIRST = (
    "tests/multirun/launching/test_launcher.py",
    "tests/multirun/phase4/test_plan.py",
    "tests/test_terminals.py",
    "tests/test_packaging.py",
    "tests/test_made_by_0_1.py",
    "tests/examples/",
    "tests/sweeper/test_main.py",
    "tests/sweeper/job/test_zoo.py",
    "tests/sweeper/search/test_killed_sweep.py",
    "tests/sweeper/search/any_program/test_other_program.py",
    "tests/sweeper/search/any_program/test_hydra_suites.py",
    "tests/sweeper/search/any_program/test_upstream_suite.py",
)

compose_fast()  # as every command of this program and every sweep does

# The suite tries the same examples each time; ``pytest --hypothesis-profile=default`` tries new ones.
hypothesis.settings.register_profile("suite", derandomize=True)
hypothesis.settings.load_profile("suite")

# So that an assertion of its that fails shows what differed.
pytest.register_assert_rewrite("tests.sweeper.inside")


SAFE_PATH = os.environ.get("PYTHONSAFEPATH")


@pytest.fixture(autouse=True)
def _where_modules_come_from() -> Iterator[None]:
    """Takes back what a console script's ``main`` sets for its child processes, in this test or in a shared fixture."""
    _restore_safe_path()
    yield
    _restore_safe_path()


def _restore_safe_path() -> None:
    if SAFE_PATH is None:
        os.environ.pop("PYTHONSAFEPATH", None)
    else:
        os.environ["PYTHONSAFEPATH"] = SAFE_PATH


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts first what waits for other processes, so that no test process waits at the end.

    What takes long in Triton's interpreter is run by name there, with ``-m slow``.
    """
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))
    for item in items:
        if INTERPRETED and "triton" in item.name and any(part in item.name for part in LONG_WHEN_INTERPRETED):
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """What was imported stays: the garbage collector need not look at a million objects again in every test.

    Tests compose configs and ask databases, which makes many objects and few cycles: it looks less often, too.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()
