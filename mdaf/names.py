"""One rule for the names of studies and the folders that are called after them."""

from __future__ import annotations

import hashlib
import re

from omegaconf import OmegaConf

LONGEST = 200  # characters of a study's name: databases keep 512, folders 255
_ORDINARY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=@-]{0,99}")
_KEPT_OF_ANOTHER = 40  # characters


def joined(*parts: object) -> str:
    """The parts of a name with ``-`` between them, without those that are null."""
    return "-".join(str(part) for part in parts if part is not None)


def register() -> None:
    """Makes ``joined`` known to OmegaConf. Idempotent."""
    OmegaConf.register_resolver("joined", joined, replace=True, annotation_validation="off")


register()  # at import too: a process that a launcher starts reads its config before it runs anything of ours


def folder_of(name: str) -> str:
    """The folder's name for a study's: the same where it is ordinary, else what is left of it and a hash.

    It never leaves the folder that it is in, no two names share one, and it can be typed as it stands. A ``+`` is in no
    ordinary name, so none is taken for a hashed one.
    """
    if _ORDINARY.fullmatch(name) and not name.endswith("."):
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:10]
    left = re.sub(r"[^A-Za-z0-9.=@-]+", "_", name).strip("._-=@")[:_KEPT_OF_ANOTHER]
    return f"{left or 'study'}+{digest}"


def complaint_about(name: str) -> str | None:
    """Why a new study may not have this name, if it may not."""
    if not name.strip():
        return "found an empty name, expected one that can be typed"
    if len(name) > LONGEST:
        return f"found a name of {len(name)} characters, expected {LONGEST} at most"
    if not name.isprintable():
        return f"found {name!r}, expected a name without line breaks and control characters"
    if "${" in name:
        return f"found {name!r}, expected a name without an interpolation"
    return None
