"""Frozen dataclasses to JSON and back, field by field.

A field named ``from_`` is the key ``from``. A field whose default is None is left out where it is None.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, Self, TypeVar

from omegaconf import MISSING  # the default of a mandatory key of a config's schema

T = TypeVar("T")


class JsonObject:
    """A dataclass that is an object of report.json."""

    def to_json(self) -> dict[str, Any]:
        """As report.json holds it."""
        found: dict[str, Any] = to_json(self)
        return found

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """From report.json; KeyError or TypeError if it is none."""
        return from_json(cls, content)


def to_json(value: Any) -> Any:
    """Plain dicts, lists and values: what ``json.dumps`` takes."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name.removesuffix("_"): to_json(held)
            for field in dataclasses.fields(value)
            if (held := getattr(value, field.name)) is not None or field.default is not None
        }
    if isinstance(value, Mapping):
        return {key: to_json(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(held) for held in value]
    return value


def from_json(kind: type[T], content: Any) -> T:
    """A dataclass of this kind from its JSON; keys that it has no field for are ignored.

    KeyError names a key that is missing, TypeError what is no object or no list where one belongs.
    """
    found: T = _read(kind, content)
    return found


def _read(kind: Any, content: Any) -> Any:
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, content)
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        [present] = [part for part in parts if part is not types.NoneType] if len(parts) == 2 else [Any]
        return None if content is None else _read(present, content)
    if origin is list or origin is tuple:
        if not isinstance(content, list | tuple):
            raise TypeError(f"expected a list, found {type(content).__name__}")
        return origin(_read(parts[0], held) for held in content)
    if origin is dict:
        return {key: _read(parts[1], held) for key, held in _object(content).items()}
    return content


def _read_dataclass(kind: Any, content: Any) -> Any:
    held, hints = _object(content), _hints(kind)
    given = {}
    for field in dataclasses.fields(kind):
        key = field.name.removesuffix("_")
        if key in held:
            given[field.name] = _read(hints[field.name], held[key])
        elif field.default in (dataclasses.MISSING, MISSING) and field.default_factory is dataclasses.MISSING:
            raise KeyError(key)
    return kind(**given)


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _object(content: Any) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise TypeError(f"expected an object, found {type(content).__name__}")
    return content
