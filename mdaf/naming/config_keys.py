"""Finds config keys that are mistyped or that nothing reads, and suggests the key that was meant."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mdaf.errors import DataError, text_of
from mdaf.terminal.programs import command, program

SCHEMA = "schema_"  # a schema's name begins with this; the name of its option follows
CLOSE = 0.7  # difflib's ratio: a key that is more similar than this is suggested
VERY_CLOSE = 0.85  # one of the same node, before a key of another node that has the very name


def check_keys(
    config: DictConfig, hydra: Any = None, *, swept: Iterable[str] = (), without: Iterable[str] = ()
) -> None:
    """Raises DataError for the first added key that nothing reads.

    A key is added if its node has a schema that does not contain it. Something reads the key if an interpolation names
    it. Mappings without a schema may have any key.

    ``hydra``    Hydra's own node. Its interpolations count, its keys are not checked.
    ``swept``    the keys that the jobs of this config will add.
    ``without``  top-level nodes whose keys are not checked.
    """
    ignored = ("hydra", *without)
    new = [key for key in swept if not is_open(config, key) and key not in keys_of(config)]
    added = [key for key in (*_added(config, ""), *new) if re.split(r"[./@]", key)[0] not in ignored]
    if not added:
        return
    nodes = [OmegaConf.to_container(node) for node in (config, hydra) if OmegaConf.is_config(node)]
    texts = [text for node in nodes for text in _interpolations(node)]
    for key in added:
        if not any(_reads(text, key) for text in texts):
            raise DataError(f"{key}: nothing reads this key{_question(key, config, {key})}")


def refused_key(error: BaseException, arguments: Iterable[str] = ()) -> str | None:
    """The error message for an override whose key the config does not have; None if ``error`` has another cause.

    ``arguments``  the arguments of the command. An error in a job of a grid names one value; these hold all that were
                   typed.
    """
    if deleted := re.match(r"Could not delete from config\. '([^']*)' does not exist", text_of(error)):
        question = key_question(deleted[1], keys_of_options()).replace("did you mean ", "did you mean ~")
        return f"~{deleted[1]}: there is no such key{question}"
    typed = re.match(r"Could not override '([^']*)'\.", text_of(error))
    cause = error.__cause__
    if typed is None or not isinstance(cause, OmegaConfBaseException) or cause.parent_node is None:
        return None
    root = cause.parent_node._get_root()
    known, key = keys_of(root), typed[1]
    if key.replace("/", ".") in known:  # the key exists, but its new value is a mapping with an unknown entry
        key = str(cause.full_key)
    if options := _options_with(key):
        have = "has" if len(options) == 1 else "have"
        return (
            f"{key}: the {options[0].partition('=')[0]} that is chosen has no such key; {', '.join(options)} {have} it"
        )
    value = text_of(error).partition(" use +")[2].partition("=")[2] if key == typed[1] else ""
    if value:
        value = next((text.partition("=")[2] for text in arguments if text.partition("=")[0] == key), value)
    line = f"{key}: there is no such key{_question(key, root, value=value)}"
    if is_open(root, key) and "did you mean" not in line:
        line += f"; {key.rpartition('.')[0]} takes new ones, with a + before the key"
    return line


def _options_with(key: str) -> list[str]:
    """The options of the key's group whose schema has this key, as one types them, such as ``data=user_behavior``."""
    group, _, name = key.partition(".")
    nodes: dict[str, Any] = ConfigStore.instance().repo.get(group, {})
    schemas = {file: entry.node for file, entry in nodes.items() if file.startswith(SCHEMA)}
    return [
        f"{group}={file.removeprefix(SCHEMA).removesuffix('.yaml')}"
        for file, schema in sorted(schemas.items())
        if name in keys_of(schema)
    ]


def keys_of_options() -> list[str]:
    """The keys that a config can have, with any choice of options."""
    found: list[str] = []
    for group, stored in ConfigStore.instance().repo.items():
        nodes = stored if isinstance(stored, dict) else {f"{SCHEMA}{group}": stored}
        schemas = [entry.node for file, entry in nodes.items() if file.startswith(SCHEMA)]
        found += [f"{group}.{name}" if nodes is stored else name for schema in schemas for name in keys_of(schema)]
    return found


def keys_of(config: DictConfig) -> list[str]:
    """All keys of a config, with dots, such as ``training.epochs``. Inner nodes are included."""

    def below(node: Any, prefix: str) -> Iterator[str]:
        for name, value in node.items() if isinstance(node, dict) else ():
            yield f"{prefix}{name}"
            yield from below(value, f"{prefix}{name}.")

    return list(below(OmegaConf.to_container(config), ""))


def meant_key(typed: str, known: Iterable[str]) -> str | None:
    """The known key that was probably meant by ``typed``; None if no key is similar.

    The key may have the same name in another node, have initials that were typed (``lr``), or differ in a few letters.
    """
    typed = typed.replace("/", ".")
    node, _, name = typed.rpartition(".")
    known = list(known)
    is_node = node in known or not node
    known = [key for key in known if not typed.startswith(f"{key}.")]
    here = [key for key in known if key.rpartition(".")[0] == node]
    of_a_run = [key for key in known if not key.startswith("hydra.")]
    of_a_sweep = [key for key in known if key.startswith("hydra.sweeper.")]
    for candidates, similar in (
        (here, VERY_CLOSE),
        (of_a_run, None),
        (of_a_sweep, None),
        (here, CLOSE),
        (of_a_run, CLOSE),
        (of_a_sweep, CLOSE),
    ):
        names: dict[str, str] = {}
        for key in candidates:
            last = key.rpartition(".")[2]
            names.setdefault(last, key)
            names.setdefault("".join(part[:1] for part in last.split("_")), key)
        if len(name) > 1 and name in names:
            return names[name]
        longer = [other for other in names if len(other) > 2]
        if similar is not None and (near := difflib.get_close_matches(name, longer, 1, similar)):
            return names[near[0]]
    near = difflib.get_close_matches(typed, known, 1, CLOSE) if not is_node else []
    return near[0] if near else None


def key_question(typed: str, known: Iterable[str], value: str = "") -> str:
    """The end of an error message: ``; did you mean training.learning_rate?``, or nothing if no key is similar.

    ``value``  the value that was typed for the key, if it is known. The question then is the whole override.
    """
    found = meant_key(typed, known)
    if found is not None and "/" in typed:
        found = found.replace(".", "/")
    return f"; did you mean {found}{f'={value}' if value else ''}?" if found is not None else ""


def _question(key: str, config: DictConfig, without: Iterable[str] = (), value: str = "") -> str:
    """The key of ``config`` that was meant, or the line that shows them all."""
    known = keys_of(config)
    others = [name for name in known if not any(name == other or name.startswith(f"{other}.") for other in without)]
    schema = OmegaConf.get_type(config)
    of_a_run = (getattr(schema, "__module__", ""), getattr(schema, "__name__", "")) == ("mdaf.conf.schema", "Config")
    shows = command("sweeper") if of_a_run else program()  # Phase 4, mdaf check and others take keys of runs, too
    return key_question(key, others, value) or f"; {shows} --cfg job shows all that there are"


def is_open(root: DictConfig, key: str) -> bool:
    """Whether a key is in a mapping without a schema, which may have any key."""
    above = key.rpartition(".")[0]
    while above:
        node = OmegaConf.select(root, above)
        if isinstance(node, DictConfig):
            return not dataclasses.is_dataclass(OmegaConf.get_type(node))
        above = above.rpartition(".")[0]
    return False


def _added(node: DictConfig, prefix: str) -> Iterator[str]:
    """The keys that are in a node with a schema, but not in that schema."""
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
    """Whether ``text`` has an interpolation that names the key, absolutely or relatively."""
    last = key.rpartition(".")[2]
    return re.search(rf"\${{[^}}]*(?<![\w.]){re.escape(key)}(?!\w)|\${{\.+{re.escape(last)}(?!\w)", text) is not None
