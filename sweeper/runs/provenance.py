"""The provenance of a result: the commit of the code and the versions of packages."""

from __future__ import annotations

import functools
import hashlib
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOMS = ("mdaf", "conf", "data", "model", "sweeper", "multirun")
CODE = (".py", ".yaml")  # files that may change results, also before they are added to git
PACKAGES = ("torch", "hydra-core", "hydra-optuna-sweeper", "optuna", "numpy", "mdaf-sweep")


@functools.cache
def commit() -> str:
    """The commit of the source tree that runs; empty outside of a repository.

    If files were edited, ``+changes`` and a digest of the differences follow, so that two edits can be told apart.
    """
    root = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
            errors="replace",
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != root:
            return ""
        head, changed = git("rev-parse", "HEAD"), git("diff", "HEAD", "--no-ext-diff", "--no-textconv", "--binary")
        new = git(
            "ls-files", "--others", "--exclude-standard", "--", *(f"{room}/*{end}" for room in ROOMS for end in CODE)
        )
        changed += "".join(f"{name}\n{(root / name).read_bytes()!r}" for name in new.splitlines())
    except (OSError, subprocess.SubprocessError):
        return ""
    return head + (f"+changes.{hashlib.sha256(changed.encode()).hexdigest()[:8]}" if changed else "")


@functools.cache
def versions() -> dict[str, str]:
    """Versions of the packages that a result depends on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
