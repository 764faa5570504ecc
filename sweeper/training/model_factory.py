"""Builds the model that the ``model`` group of a config names."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from hydra.utils import get_class, instantiate
from omegaconf import DictConfig

from mdaf.data.schema import Schema
from mdaf.data.store.event_store import USER_TABLE, EventStore
from mdaf.data.store.seen import MOST, unknown_users
from mdaf.errors import UserError, did_you_mean
from mdaf.former_names import current
from mdaf.model.ctr import CTRModel
from mdaf.reporting import one_line

# Widths that a model's own options name, whether a log has that table or not.
NAMED_IN_ALL = ("item", "category", "other")


def by_gradient(node: DictConfig) -> bool:
    """Whether the model that ``node`` names is trained by gradients. UserError if it names no model."""
    target = current(str(node._target_))
    if not target.startswith("mdaf.model."):  # before it is imported
        raise UserError(f"model._target_: found {node._target_}, expected a class of the package mdaf.model")
    try:
        named = get_class(target)
    except (ImportError, ValueError) as error:
        raise UserError(f"model._target_: found {node._target_}, expected a model: {one_line(error)}") from None
    if not issubclass(named, CTRModel):
        raise UserError(f"model._target_: found {node._target_}, expected a subclass of mdaf.model.ctr.CTRModel")
    return named.by_gradient


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


def builder(node: DictConfig, schema: Schema) -> Callable[[], CTRModel]:
    """A function that builds the model that ``node`` names, without the fields that its key ``without`` names.

    UserError, now or from the function, if model and schema do not fit.
    """
    by_gradient(node)
    target = current(node._target_)
    arguments = {**{name: value for name, value in node.items() if name != "without"}, "_target_": target}
    try:
        kept = schema.without(node.get("without") or ())
    except ValueError as error:
        raise UserError(f"model.without: {error}") from None
    _check_widths(arguments, schema, "model")
    build = functools.partial(
        instantiate(arguments, _partial_=True, _convert_="all", _recursive_=False, _execution_whitelist_=(target,)),
        schema=kept,
    )

    def built() -> CTRModel:
        try:
            return build()
        except ValueError as error:
            raise UserError(f"model: {error}") from None

    return built


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
