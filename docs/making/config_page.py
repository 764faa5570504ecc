"""Writes docs/reference/config.md: every config key with its type, default, bounds and meaning, from the schemas.

The meaning is a sentence of the docstring of the dataclass that has the key: a line with the key between double
backticks, and the sentence after it. Defaults are those of the YAML files in conf/.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from mdaf import conf
from mdaf.conf import options, schema
from mdaf.sweeper.search.settings import Plateau, SweepSettings

ROOT = Path(__file__).parents[2]
SENTENCE = re.compile(r"^ {4}``(\w+)`` +(.*(?:\n {5,}\S.*)*)", re.M)
TYPES = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}
# Options that are made in Python, so that no YAML file says what they are.
MADE = {
    "hydra/launcher=basic": "One job after the other, in this process.",
    "hydra/sweeper=basic": "A grid: every combination of the values that are typed with commas.",
    "hydra/sweeper=study": "An Optuna sweep of any Hydra program; its search space is typed.",
    "hydra/sweeper/sampler=cmaes": "CMA-ES, an evolution strategy for numbers.",
    "hydra/sweeper/sampler=gp": "Bayesian optimization with a Gaussian process.",
    "hydra/sweeper/sampler=grid": "Every point of a grid once.",
    "hydra/sweeper/sampler=nsgaii": "NSGA-II, for several objectives.",
    "hydra/sweeper/sampler=nsgaiii": "NSGA-III, for many objectives.",
    "hydra/sweeper/sampler=racing": "A race: runs good points again on further seeds, and names the best by its mean.",
    "hydra/sweeper/sampler=random": "Random points.",
    "device=cpu": "The CPU.",
    "device=cuda": "One NVIDIA GPU.",
    "device=mps": "The GPU of a Mac.",
    "training=default": "The research's settings.",
}
ROOT_KEYS = "Keys at the root"
HIDDEN = ("hydra/help", "hydra/hydra_logging", "hydra/job_logging")
FOREIGN = ("hydra/sweeper=optuna", "hydra/sweeper/sampler=motpe")  # of hydra-optuna-sweeper, where it is installed


@dataclass(frozen=True)
class Key:
    """A config key as the page shows it. ``sentence`` is empty where no docstring has one."""

    path: str
    type: str
    default: str
    bounds: str
    sentence: str
    owner: str


def sentences(kind: type) -> dict[str, str]:
    """What the docstrings of a dataclass and of its bases say about their fields."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        for name, text in SENTENCE.findall(one.__dict__.get("__doc__") or ""):
            found[name] = " ".join(text.split()).replace("``", "`").replace("None:", "null:")
    return found


def keys_of(kind: type, defaults: Any, path: str = "") -> Iterator[Key]:
    """The keys of a schema below ``path``, those of nested schemas in the place of their node.

    ``defaults``  a mapping of the schema's keys to their values, interpolations as they are written
    """
    said, hints = sentences(kind), get_type_hints(kind)
    for field in dataclasses.fields(kind):
        name, default = f"{path}{field.name}", (defaults or {}).get(field.name)
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from keys_of(typing.cast(type, hint), default, f"{name}.")
        elif kind is not schema.Config or field.name not in options.groups():
            bounds = str(field.metadata.get("bounds", "")).removeprefix("a number ")
            yield Key(name, _type(hint), _value(default), bounds, _finished(said.get(field.name, "")), kind.__name__)


def _type(hint: Any) -> str:
    if hint in TYPES:
        return TYPES[hint]
    if get_origin(hint) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        named = dict.fromkeys(_type(one) for one in get_args(hint))
        return " or ".join(name for name in named if name != "whole number" or "number" not in named)
    if get_origin(hint) in (list, typing.get_origin(typing.Sequence[int])):
        return f"list of {_type(get_args(hint)[0])}s"
    if get_origin(hint) in (dict, typing.get_origin(typing.Mapping[str, int])):
        return f"mapping to {_type(get_args(hint)[1])}"
    return "any"


def _value(value: Any) -> str:
    """As it is typed on a command line."""
    plain = {None: "null", True: "true", False: "false"}
    if isinstance(value, bool) or value is None:
        return f"`{plain[value]}`"
    if isinstance(value, float):
        return f"`{value:g}`"
    if isinstance(value, dict):
        return f"`{{{', '.join(f'{key}: {_value(one)[1:-1]}' for key, one in value.items())}}}`"
    if isinstance(value, list | tuple):
        return f"`[{', '.join(_value(one)[1:-1] for one in value)}]`"
    return f"`{value}`".replace("`\t`", '`"\\t"`') if value != "" else '`""`'


def _finished(sentence: str) -> str:
    """With a capital letter and a full stop."""
    if not sentence:
        return ""
    return sentence[0].upper() + sentence[1:] + ("" if sentence.endswith(".") else ".")


def composed(*overrides: str, name: str = "config") -> DictConfig:
    """A config of the tree; inside ``initialize_config_module``."""
    return compose(name, overrides=list(overrides), return_hydra_config=True)


def schemas() -> dict[str, tuple[type, dict[str, Any], list[str]]]:
    """``group=option`` -> the schema of its keys, its values, and other options that have the same schema."""
    found: dict[str, tuple[type, dict[str, Any], list[str]]] = {}
    by_schema: dict[tuple[str, type], str] = {}
    for group, module in sorted(_modules().items()):
        named = sorted(options.options_of(group), key=lambda one: (one not in module.SCHEMAS, one))
        for option in named:
            kind, values = _option(group, option)
            if first := by_schema.get((group, kind)):
                found[first][2].append(option)
                continue
            by_schema[group, kind] = f"{group}={option}"
            found[f"{group}={option}"] = (kind, typing.cast(dict[str, Any], OmegaConf.to_container(values)), [])
    return found


def _option(group: str, option: str) -> tuple[type, DictConfig]:
    """Schema and values of an option, as the defaults lists of its files say. Composing each takes seconds."""
    node = typing.cast(DictConfig, OmegaConf.load(ROOT / f"conf/{group}/{option}.yaml"))
    kind, values = object, OmegaConf.create({})
    for default in node.pop("defaults", ["_self_"]):
        if default == "_self_":
            values.merge_with(node)
        elif default.startswith("schema_"):
            kind = _modules()[group].SCHEMAS[default.removeprefix("schema_")]
        else:
            based_on, inherited = _option(group, default)
            kind = kind if based_on is object else based_on
            values.merge_with(inherited)
    return kind, values


@cache
def _modules() -> dict[str, Any]:
    """Modules of conf/ that hold the schemas of a group's options, by the group's name."""
    names = [file.name.removesuffix("_schema.py") for file in sorted((ROOT / "conf").glob("*_schema.py"))]
    modules = {name: import_module(f"mdaf.conf.{name}_schema") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "SCHEMAS")}


@cache
def all_keys() -> dict[str, list[Key]]:
    """Every key of the page, by the heading of its section."""
    conf.register()
    modules = _modules()
    found: dict[str, list[Key]] = {ROOT_KEYS: []}
    with initialize_config_module("mdaf.conf"):
        config = composed("hydra/sweeper=regularization")
        values = typing.cast(dict[str, Any], OmegaConf.to_container(config, resolve=False))
        for key in keys_of(schema.Config, values):
            node = key.path.partition(".")[0] if "." in key.path else ""
            if key.path not in modules:
                found.setdefault(node or ROOT_KEYS, []).append(key)
        for name, (kind, defaults, others) in schemas().items():
            heading = " ".join([name, *(f"(also {', '.join(others)})" for _ in others[:1])])
            found[heading] = list(keys_of(kind, defaults, f"{name.partition('=')[0]}."))
        found["hydra.sweeper"] = _sweeper_keys(values["hydra"]["sweeper"])
        phase4 = OmegaConf.to_container(composed(name="phase4"), resolve=False)
        found["mdaf-phase4"] = list(keys_of(schema.Phase4, phase4))
    return found


def _sweeper_keys(regularization: dict[str, Any]) -> list[Key]:
    """The keys of ``hydra.sweeper``: their default in ``study``, and in ``regularization`` where that is another."""
    study = {field.name: getattr(SweepSettings(), field.name) for field in dataclasses.fields(SweepSettings)}
    study["plateau"] = dataclasses.asdict(Plateau())
    keys = []
    for key in keys_of(SweepSettings, study, "hydra.sweeper."):
        name = key.path.rpartition(".")[2]
        if name in ("sampler", "pruner"):
            default = f"`{'null' if name == 'sampler' else 'none'}`; `{'tpe' if name == 'sampler' else 'none'}`"
        elif name in ("params", "enqueue", "study_name"):
            default = f"{key.default}; see the file"
        else:
            own = _value(regularization[name]) if name in regularization else key.default
            default = key.default if own == key.default else f"{key.default}; {own}"
        keys.append(dataclasses.replace(key, default=default))
    return keys


def choices() -> dict[str, dict[str, str]]:
    """Group -> option -> what it is: the first sentence of its YAML file."""
    conf.register()
    with initialize_config_module("mdaf.conf"):
        loader = GlobalHydra.instance().config_loader()
        found = {}
        for group in options.groups():
            if group not in HIDDEN:
                names = [name for name in loader.get_group_options(group) if options.is_option(name)]
                found[group] = {n: _first_sentence(group, n) for n in names if f"{group}={n}" not in FOREIGN}
    return found


def _first_sentence(group: str, option: str) -> str:
    file = ROOT / f"conf/{group}/{option}.yaml"
    lines = file.read_text().splitlines() if file.is_file() else []
    comment = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment.append(line.lstrip("# "))
    text = " ".join(line for line in comment if not line.startswith("@package")).replace("*", "\\*")
    return MADE.get(f"{group}={option}", "") or re.split(r"(?<=\.)\s", text)[0]


HEAD = """\
# Config keys

<!-- Written by `make reference` from conf/; change the schemas there, not this page. -->

Every key of a run, a sweep and a verdict, with its type, its default, its bounds and what it does.

```
python -m sweeper regularization.dropout=0.3 training.epochs=3     # key=value sets a key
python -m sweeper model=din data=synthetic_tiny                    # group=option chooses a file of conf/
```

A key that does not exist, a wrong type and a number out of bounds are refused before any work starts. In a list or a
mapping the bounds hold for each value.

## Groups and their options

A config group is chosen as a whole, with `group=option`.
"""
INTRO = {
    ROOT_KEYS: "Keys that belong to no group.",
    "hydra.sweeper": "Keys of an Optuna sweep (`-m hydra/sweeper=...`). A default is that of `hydra/sweeper=study`; "
    "where `regularization` has another, it comes second.",
    "mdaf-phase4": "Keys of `mdaf-phase4` (`python -m multirun`). They stand alone: no group before them.",
}


@cache
def page() -> str:
    """The page as the schemas have it now."""
    parts = [HEAD]
    for group, named in choices().items():
        parts.append(f"\n### Options of `{group}`\n\n| option | what it is |\n|---|---|\n")
        parts += [f"| `{name}` | {_cell(text)} |\n" for name, text in named.items()]
    for heading, keys in all_keys().items():
        title, _, others = heading.partition(" (")
        shown = f"`{title}`" if heading != ROOT_KEYS else heading
        parts.append(f"\n## {shown}\n\n")
        if heading in INTRO:
            parts.append(f"{INTRO[heading]}\n\n")
        if others:
            listed = ", ".join(f"`{one}`" for one in others.removeprefix("also ").removesuffix(")").split(", "))
            parts.append(f"The options {listed} have the same keys, with other defaults.\n\n")
        parts.append("| key | type and bounds | default | meaning |\n|---|---|---|---|\n")
        parts += [
            f"| `{key.path}` | {_cell(_typed(key))} | {_cell(key.default)} | {_cell(key.sentence)} |\n" for key in keys
        ]
    return "".join(parts)


def _typed(key: Key) -> str:
    return f"{key.type}, {key.bounds}" if key.bounds else key.type


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
