"""Keys of a config: which one was meant where a typed one is unknown, and which one nothing reads."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mdaf.errors import DataError

SCHEMA = "schema_"  # how the names of schemas begin, before the option that each is of
CLOSE = 0.7  # of difflib's measure: nearer than this is taken for a slip of the fingers


def check_keys(
    config: DictConfig, hydra: Any = None, *, swept: Iterable[str] = (), without: Iterable[str] = ()
) -> None:
    """DataError at the first key that was added to a node with a schema, and that no interpolation reads.

    Mappings without a schema take any key. Interpolations are looked for in ``config`` and in ``hydra``, Hydra's own
    node, which is not checked; nor is what lies in the top-level nodes ``without``. Jobs of this config will add the
    keys ``swept``.
    """
    passed = ("hydra", *without)
    new = [key for key in swept if not is_open(config, key) and key not in keys_of(config)]
    added = [key for key in (*_added(config, ""), *new) if re.split(r"[./@]", key)[0] not in passed]
    if not added:
        return
    nodes = [OmegaConf.to_container(node) for node in (config, hydra) if OmegaConf.is_config(node)]
    read = [text for node in nodes for text in _interpolations(node)]
    for key in added:
        if not any(_reads(text, key) for text in read):
            raise DataError(f"{key}: nothing reads this key{_question(key, keys_of(config), {key})}")


def refused_key(error: BaseException, arguments: Iterable[str] = ()) -> str | None:
    """What to say of an override whose key the config does not have; None if that is not what ``error`` is about.

    ``arguments``  of the command, where a job has one of several values that were typed for the key.
    """
    if deleted := re.match(r"Could not delete from config\. '([^']*)' does not exist", str(error)):
        question = key_question(deleted[1], _keys_of_options()).replace("did you mean ", "did you mean ~")
        return f"~{deleted[1]}: there is no such key{question}"
    typed = re.match(r"Could not override '([^']*)'\.", str(error))
    cause = error.__cause__
    if typed is None or not isinstance(cause, OmegaConfBaseException) or cause.parent_node is None:
        return None
    root = cause.parent_node._get_root()
    known, key = keys_of(root), typed[1]
    if key.replace("/", ".") in known:  # a mapping that was typed has an entry that this one lacks
        key = str(cause.full_key)
    if options := _options_with(key):
        return f"{key}: the {options[0].partition('=')[0]} that is chosen has no such key; {', '.join(options)} have it"
    value = str(error).partition(" use +")[2].partition("=")[2] if key == typed[1] else ""
    if value:
        value = next((text.partition("=")[2] for text in arguments if text.partition("=")[0] == key), value)
    line = f"{key}: there is no such key{_question(key, known, value=value)}"
    if is_open(root, key) and "did you mean" not in line:
        line += f"; {key.rpartition('.')[0]} takes new ones, with a + before the key"
    return line


def _options_with(key: str) -> list[str]:
    """The options of the key's group whose schema has it, as they are typed: ``data=user_behavior``."""
    group, _, name = key.partition(".")
    nodes: dict[str, Any] = ConfigStore.instance().repo.get(group, {})
    schemas = {file: entry.node for file, entry in nodes.items() if file.startswith(SCHEMA)}
    return [
        f"{group}={file.removeprefix(SCHEMA).removesuffix('.yaml')}"
        for file, schema in sorted(schemas.items())
        if name in keys_of(schema)
    ]


def _keys_of_options() -> list[str]:
    """The keys that a config has with one option or another of its groups."""
    found: list[str] = []
    for group, stored in ConfigStore.instance().repo.items():
        nodes = stored if isinstance(stored, dict) else {f"{SCHEMA}{group}": stored}
        schemas = [entry.node for file, entry in nodes.items() if file.startswith(SCHEMA)]
        found += [f"{group}.{name}" if nodes is stored else name for schema in schemas for name in keys_of(schema)]
    return found


def keys_of(config: DictConfig) -> list[str]:
    """All keys of a config, inner nodes included, with dots."""

    def below(node: Any, prefix: str) -> Iterator[str]:
        for name, value in node.items() if isinstance(node, dict) else ():
            yield f"{prefix}{name}"
            yield from below(value, f"{prefix}{name}.")

    return list(below(OmegaConf.to_container(config), ""))


def meant_key(typed: str, known: Iterable[str]) -> str | None:
    """The known key that somebody who typed ``typed`` probably meant; None where no key is near.

    It may have the same name in another node, its name's initials (``lr``), or differ in a few letters.
    """
    typed = typed.replace("/", ".")
    node, _, name = typed.rpartition(".")
    known = list(known)
    is_node = node in known or not node
    known = [key for key in known if not typed.startswith(f"{key}.")]
    here = [key for key in known if key.rpartition(".")[0] == node]
    of_a_run = [key for key in known if not key.startswith("hydra.")]
    of_a_sweep = [key for key in known if key.startswith("hydra.sweeper.")]
    for candidates, may_differ in (
        (here, True),
        (of_a_run, False),
        (of_a_sweep, False),
        (of_a_run, True),
        (of_a_sweep, True),
    ):
        names: dict[str, str] = {}
        for key in candidates:
            last = key.rpartition(".")[2]
            names.setdefault(last, key)
            names.setdefault("".join(part[:1] for part in last.split("_")), key)
        if len(name) > 1 and name in names:
            return names[name]
        longer = [other for other in names if len(other) > 2]
        if may_differ and (near := difflib.get_close_matches(name, longer, 1, CLOSE)):
            return names[near[0]]
    near = difflib.get_close_matches(typed, known, 1, CLOSE) if not is_node else []
    return near[0] if near else None


def key_question(typed: str, known: Iterable[str], value: str = "") -> str:
    """The end of a sentence: ``; did you mean training.learning_rate?``, or nothing where no key is near.

    ``value``  what the key was to be set to, where that is known: the question is then the override to type.
    """
    found = meant_key(typed, known)
    if found is not None and "/" in typed:
        found = found.replace(".", "/")
    return f"; did you mean {found}{f'={value}' if value else ''}?" if found is not None else ""


def _question(key: str, known: Iterable[str], without: Iterable[str] = (), value: str = "") -> str:
    others = [name for name in known if not any(name == other or name.startswith(f"{other}.") for other in without)]
    return key_question(key, others, value) or "; python -m sweeper --cfg job shows all that there are"


def is_open(root: DictConfig, key: str) -> bool:
    """Whether a key lies in a mapping without a schema, which takes any."""
    above = key.rpartition(".")[0]
    while above:
        node = OmegaConf.select(root, above)
        if isinstance(node, DictConfig):
            return not dataclasses.is_dataclass(OmegaConf.get_type(node))
        above = above.rpartition(".")[0]
    return False


def _added(node: DictConfig, prefix: str) -> Iterator[str]:
    """The keys of nodes with a schema that the schema does not have."""
    schema = OmegaConf.get_type(node)
    fields = {field.name for field in dataclasses.fields(schema)} if dataclasses.is_dataclass(schema) else None
    for name, child in node.items_ex(resolve=False):
        if fields is not None and name not in fields:
            yield f"{prefix}{name!s}"
        elif isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            yield from _added(child, f"{prefix}{name!s}.")


def _interpolations(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for value in node.values():
            yield from _interpolations(value)
    elif isinstance(node, list):
        for value in node:
            yield from _interpolations(value)
    elif isinstance(node, str) and "${" in node:
        yield node


def _reads(text: str, key: str) -> bool:
    """Whether an interpolation names a key, from the root or from where it stands."""
    last = key.rpartition(".")[2]
    return re.search(rf"\${{[^}}]*(?<![\w.]){re.escape(key)}(?!\w)|\${{\.+{re.escape(last)}(?!\w)", text) is not None
