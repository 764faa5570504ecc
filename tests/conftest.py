"""Imported before any test imports torch."""

import sweeper  # noqa: F401 - sets how OpenMP waits
