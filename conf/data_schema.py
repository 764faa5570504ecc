"""Types and bounds of the ``data`` group."""

from __future__ import annotations


def register() -> None:
    """Puts the schemas of the group into Hydra's config store."""
