"""Builds the model that the ``model`` group of a config names."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from mdaf.data.schema import Schema
from mdaf.data.store.event_store import USER_TABLE, EventStore
from mdaf.data.store.seen import MOST, unknown_users
from mdaf.errors import UserError, did_you_mean
from mdaf.messages.reporting import one_line
from mdaf.model.contract import check_replica_axis, check_tensors
from mdaf.model.ctr import CTRModel
from mdaf.model.plain import PlainModel
from mdaf.naming.allowed import class_named

# Widths that a model's own options name, whether a log has that table or not.
NAMED_IN_ALL = ("item", "category", "other")
OURS = "mdaf.model"


def class_of(node: DictConfig) -> type[nn.Module]:
    """The class that ``node`` names: a model of this package, or one that the user allows (``mdaf.naming.allowed``).

    Raises UserError for any other name, without importing it, and for a class that is no model.
    """
    try:
        named = class_named(str(node._target_), OURS)
    except UserError as error:
        raise type(error)(f"model._target_: {error}") from None
    expected = CTRModel if _is_ours(named) else nn.Module
    if not issubclass(named, expected):
        said = f"{expected.__module__.removesuffix('.modules.module')}.{expected.__qualname__}"
        raise UserError(f"model._target_: found {node._target_}, expected a subclass of {said}")
    return named


def by_gradient(node: DictConfig) -> bool:
    """Whether the model that ``node`` names is trained by gradients. UserError if it names no model."""
    named = class_of(node)
    return named.by_gradient if issubclass(named, CTRModel) else True


def _is_ours(named: type) -> bool:
    return named.__module__.startswith(f"{OURS}.")


def decide_fields(cfg: DictConfig, store: EventStore) -> float | None:
    """Decides ``model.without`` where the config leaves it open: the user's id, if most validation users are new.

    It is decided before the config is hashed and recorded, so that a run says which fields it had. Returns the share of
    users in validation whom training has not seen; None if it was not open.
    """
    if "without" not in cfg.model or cfg.model.without is not None:
        return None
    share = unknown_users(store, "validation")
    cfg.model.without = [USER_TABLE] if share > MOST else []
    return share


@dataclass(frozen=True)
class Builder:
    """Builds one model for each call. UserError if the model and the schema do not fit.

    ``in_threads``  whether several may be built at the same time. Code of others may use what a process has but once.
    """

    construct: Callable[[], nn.Module]
    named: type[nn.Module]
    in_threads: bool

    def __call__(self) -> CTRModel:
        try:
            built = self.construct()
            if not isinstance(built, CTRModel):
                return PlainModel(built)
            if built.by_gradient:
                check_tensors(built)
                check_replica_axis(built)
            return built
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"model: {error}" if self.in_threads else f"model: {self._name}: {error}") from None
        except Exception as error:
            if self.in_threads:
                raise
            said = f"{type(error).__name__}: {one_line(error)}"
            raise UserError(f"model: {self._name} cannot be built: {said} ({_place(error)})") from error

    @property
    def _name(self) -> str:
        return f"{self.named.__module__}.{self.named.__qualname__}"


def _place(error: Exception) -> str:
    """Where an error was raised: file and line."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}, line {frame.lineno}"


def builder(node: DictConfig, schema: Schema) -> Builder:
    """A function that builds the model that ``node`` names, without the fields that its key ``without`` names.

    A plain module becomes a ``PlainModel``. UserError, now or from the function, if model and schema do not fit.
    """
    named = class_of(node)
    plain = OmegaConf.to_container(node, resolve=True)
    assert isinstance(plain, dict)
    arguments = {str(name): value for name, value in plain.items() if name not in ("without", "_target_")}
    try:
        kept = schema.without(node.get("without") or ())
    except ValueError as error:
        raise UserError(f"model.without: {error}") from None
    if _is_ours(named):
        _check_widths(arguments, schema, "model")
    return Builder(functools.partial(named, schema=kept, **arguments), named, _is_ours(named))


def _check_widths(node: Mapping[Any, Any], schema: Schema, key: str) -> None:
    """UserError if a mapping of embedding widths names a table that the data does not have."""
    for name, value in node.items():
        if not isinstance(value, Mapping):
            continue
        if name != "embedding":
            _check_widths(value, schema, f"{key}.{name}")
        elif unknown := [str(table) for table in value if table not in (*schema.tables, *NAMED_IN_ALL)]:
            tables = sorted({*schema.tables, "other"})
            raise UserError(
                f"{key}.embedding.{unknown[0]}: the data has no such table{did_you_mean(unknown[0], tables)}; it has "
                f"{', '.join(tables)}"
            )
