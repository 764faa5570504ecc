"""What a study may say to a command: values of this program's own keys. No code, no path, no command.

Whoever can write in a study database can put anything into it. So each override that comes from one is looked at here
before it gets into a command line, whether that one is started or only shown. The table is in docs/how-to/security.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf

from mdaf.errors import UserError
from mdaf.files.plain import plain_text
from mdaf.naming.allowed import permitted
from mdaf.naming.studies import folder_of
from mdaf.terminal.printable import in_a_line

GROUPS = ("model", "data", "regularization", "training", "device", "experiment")
SETTABLE = (*GROUPS, "criteria", "seed")  # the first part of a key
PATHS = (
    "data.path",
    "data.samples_path",
    "data.root",
    *(f"data.{owner}_table.{key}" for owner in ("item", "user") for key in ("path", "beside")),
)
LOSS = "training.loss"  # the one value of a key that may name a function
STUDIES = Path("runs/studies")  # where this program puts the run folders of studies
LONGEST, LONGEST_PART = 1000, 255  # of a path and of each part: the system raises an error for longer ones
FETCHED = ".fetched"  # in a run folder that came from a store: what it says was not typed here
ANOTHERS_MICRO_BATCH = re.compile(r"device\.micro_batch=\d{1,9}")

_OPTION = re.compile(r"\w[\w-]*")
_KEY = re.compile(r"\w[\w-]*([./]\w[\w-]*)*")


def refusal(override: str, *, own: bool = True, typed: bool = False) -> str | None:
    """Why a study may not say this override; None if it may. Paths are not looked at: see ``path_in``.

    ``own``    whether the override is for this program. For another program any key is accepted that Hydra itself does
               not follow.
    ``typed``  whether the override was typed here. Then it may contain interpolations and name a loss of one's own,
               which ``MDAF_ALLOW`` has to allow too.
    """
    try:
        parsed = OverridesParser.create().parse_override(override)
        value = None if parsed.is_sweep_override() else parsed.value()
    except HydraException:
        return "it is no override"
    key = str(parsed.key_or_group)
    if parsed.is_sweep_override():
        return "it names several values"
    if parsed.package is not None or not _KEY.fullmatch(key) or parsed.is_hydra_override():
        return "its key is none that a study may set"
    keys, texts = [key, *(f"{key}.{inner}" for inner in _keys(value))], [*_texts(value), override]
    if any(part.startswith("_") for name in keys for part in name.split(".")):
        return "a key that begins with _ may name code"
    if own and not typed and LOSS in keys and any("." in text for text in _texts(value)):
        return "a loss with its module names code"
    if not typed and any("${" in text for text in texts):
        return "an interpolation may read what is no part of the study"
    if own and key.partition(".")[0] not in SETTABLE:
        return "it is no key of a run's own config"
    if (key in GROUPS or "/" in key) and not all(_OPTION.fullmatch(option) for option in _options(value)):
        return "it is no name of an option"
    return None


def path_in(override: str) -> str | None:
    """The key of the path that an override sets, if it sets one."""
    try:
        parsed = OverridesParser.create().parse_override(override)
        keys = [str(parsed.key_or_group), *(f"{parsed.key_or_group}.{inner}" for inner in _keys(_value(parsed)))]
    except HydraException:
        return None
    return next((key for key in keys if key in PATHS), None)


def is_allowed_code(override: str) -> bool:
    """Whether an override names a model or a source that the user allows (``MDAF_ALLOW``). It has to be typed still."""
    key, _, value = override.lstrip("+").partition("=")
    group = key.partition(".")[0]
    if key not in ("model._target_", "data._target_"):
        return False
    try:
        return bool(permitted(value, f"mdaf.{group}"))
    except UserError:
        return False


def typed_here(study: str) -> frozenset[str]:
    """The overrides with which runs of the study were begun on this machine, in this working directory.

    Only the place is asked where this program itself puts them, never one that a database names.
    """
    home = STUDIES / folder_of(study)
    found: set[str] = set()
    for file in home.glob("*/.hydra/overrides.yaml"):
        folder = file.parent.parent
        if folder.name.isdecimal() and not came_from_elsewhere(folder):
            found |= set(_saved_overrides(file))
    return frozenset(found)


def came_from_elsewhere(folder: Path) -> bool:
    """Whether a run folder was fetched from a store, or lies in one that was."""
    return any((above / FETCHED).exists() for above in (folder, *folder.parents))


def run_folder(said: Any, roots: Sequence[Path] = ()) -> Path | None:
    """The run folder that a trial names, if it lies below this directory or one that was typed; else None."""
    if not isinstance(said, str) or not said or not said.isprintable():
        return None
    folder = Path(said)
    if ".." in folder.parts or len(said) > LONGEST or any(len(part.encode()) > LONGEST_PART for part in folder.parts):
        return None
    below = not folder.is_absolute() or any(folder.is_relative_to(root.absolute()) for root in (Path(), *roots))
    return folder if below else None


def sorted_out(overrides: Sequence[str], study: str, *, own: bool = True) -> tuple[list[str], dict[str, str]]:
    """The overrides that a study may say, and the others, each with the reason.

    What was typed here counts as typed, but for what names code.
    """
    taken, refused = [], {}
    here: frozenset[str] | None = None
    for override in overrides:
        why = refusal(override, own=own)
        path = path_in(override)
        if why is None and path is not None:
            why = f"{path} is a path, and no run folder of the study here says that it was typed here"
        if why is not None and here is None:
            here = typed_here(study)
        if why is None or (override in (here or ()) and refusal(override, own=own, typed=True) is None):
            taken.append(override)
        else:
            refused[override] = why
    return taken, refused


def memory_overrides(attribute: Any) -> list[str]:
    """What a retry may set besides its point: a smaller micro-batch, and nothing else."""
    said = attribute if isinstance(attribute, list) else []
    return [text for text in said if isinstance(text, str) and ANOTHERS_MICRO_BATCH.fullmatch(text)]


def shown_refusals(refused: Mapping[str, str]) -> str:
    """The overrides that were refused, in one line."""
    return "; ".join(f"{in_a_line(override)}: {why}" for override, why in refused.items())


def _saved_overrides(file: Path) -> list[str]:
    try:
        content = OmegaConf.to_container(OmegaConf.load(plain_text(file)), resolve=False)
    except Exception:  # whatever a damaged file makes the reader raise
        return []
    return [str(item) for item in content] if isinstance(content, list) else []


def _value(parsed: Override) -> Any:
    return None if parsed.is_sweep_override() else parsed.value()


def _options(value: Any) -> list[str]:
    """The options of a group that a value chooses."""
    chosen = value if isinstance(value, list) else [value]
    return [str(option) for option in chosen if option is not None and not isinstance(option, dict)]


def _keys(value: Any) -> Iterator[str]:
    """The dotted keys within a value."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from (f"{key}.{deeper}" for deeper in _keys(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    else:
        yield str(value)
