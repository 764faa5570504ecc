"""Imported before any test imports torch."""

import os

# Tests are tiny, and run beside each other: a second thread costs more than it brings.
for threads in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(threads, "1")

import pytest  # noqa: E402

import mdaf  # noqa: E402, F401 - sets how OpenMP waits

# So that an assertion of its that fails shows what differed.
pytest.register_assert_rewrite("tests.sweeper.inside")
