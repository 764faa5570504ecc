"""From the ``model`` group of a config to the model that it names."""

from __future__ import annotations

import functools
from collections.abc import Callable

from hydra.utils import get_class, instantiate
from omegaconf import DictConfig

from data.schema import Schema
from model.ctr import CTRModel
from sweeper.errors import UserError, one_line


def by_gradient(node: DictConfig) -> bool:
    """Whether the training loop trains the model that ``node`` names. UserError if it names none."""
    if not str(node._target_).startswith("model."):  # before it is imported
        raise UserError(f"model._target_: found {node._target_}, expected a class of the package model")
    try:
        named = get_class(node._target_)
    except (ImportError, ValueError) as error:
        raise UserError(f"model._target_: found {node._target_}, expected a model: {one_line(error)}") from None
    if not issubclass(named, CTRModel):
        raise UserError(f"model._target_: found {node._target_}, expected a subclass of model.ctr.CTRModel")
    return named.by_gradient


def builder(node: DictConfig, schema: Schema) -> Callable[[], CTRModel]:
    """Builds the model that ``node`` names, without what its ``without`` leaves out.

    UserError, now or when it is called, if model and schema do not fit.
    """
    by_gradient(node)
    arguments = {name: value for name, value in node.items() if name != "without"}
    try:
        kept = schema.without(node.get("without", ()))
    except ValueError as error:
        raise UserError(f"model.without: {error}") from None
    build = functools.partial(
        instantiate(
            arguments, _partial_=True, _convert_="all", _recursive_=False, _execution_whitelist_=(node._target_,)
        ),
        schema=kept,
    )

    def built() -> CTRModel:
        try:
            return build()
        except ValueError as error:
            raise UserError(f"model: {error}") from None

    return built
