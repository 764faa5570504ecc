"""Where studies lie, the rule for their names, and for the names of the folders that hold their runs."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from mdaf.hydra_internals import register_resolver

DEFAULT_STORAGE = "sqlite:///runs/studies.db"  # of a study: where sweeps write it, and commands look for it
LONGEST = 200  # characters of a study's name; databases allow 512, file systems 255
_ORDINARY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=@-]{0,99}")
_LONGEST_READABLE_PART = 40  # characters


def joined(*parts: object) -> str:
    """The parts of a name with ``-`` between them; parts that are None are left out."""
    return "-".join(str(part) for part in parts if part is not None)


def register() -> None:
    """Makes ``${joined:...}`` known to OmegaConf. Calling it again changes nothing."""
    register_resolver("joined", joined)


register()  # at import too, because a process that a launcher starts reads its config first


def folder_of(name: str) -> str:
    """The name of the folder for a study's name.

    An ordinary name (letters, digits and ``_.=@-``) is its own folder name. Any other name becomes its ordinary
    characters, a ``+`` and a hash. So the folder name contains no path, can be typed without quotes, and differs for
    different names: no ordinary name contains a ``+``.
    """
    if _ORDINARY.fullmatch(name) and not name.endswith("."):
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:10]
    left = re.sub(r"[^A-Za-z0-9.=@-]+", "_", name).strip("._-=@")[:_LONGEST_READABLE_PART]
    return f"{left or 'study'}+{digest}"


def numbered(folder: Path) -> Iterator[Path]:
    """A folder, then ``NAME-2``, ``NAME-3``, ... beside it, without end."""
    yield folder
    yield from (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))


def complaint_about(name: str) -> str | None:
    """Why a new study must not have this name; None if it may."""
    if not name.strip():
        return "found an empty name, expected one that can be typed"
    if len(name) > LONGEST:
        return f"found a name of {len(name)} characters, expected {LONGEST} at most"
    if not name.isprintable():
        return f"found {name!r}, expected a name without line breaks and control characters"
    if "${" in name:
        return f"found {name!r}, expected a name without an interpolation"
    return None
