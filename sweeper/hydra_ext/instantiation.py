"""Creates the sampler and the pruner that a config describes. A config may name only what ``targets`` allows."""

from __future__ import annotations

import copy
import functools
import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from mdaf import hydra_internals
from mdaf.errors import UserError
from mdaf.naming.allowed import allowed, is_named, refusal
from mdaf.sweeper.hydra_ext.targets import PRUNERS, SAMPLERS, refused_by_hydra

log = logging.getLogger(__name__)

LISTS = {"sampler": SAMPLERS, "pruner": PRUNERS}
# The arguments of the preset ``tpe``, on which the node of another class is laid: hydra.sweeper.sampler={_target_: ...}
OF_THE_PRESET = (
    *("seed", "consider_prior", "prior_weight", "consider_magic_clip", "consider_endpoints", "n_startup_trials"),
    *("n_ei_candidates", "multivariate", "group", "warn_independent_sampling", "constant_liar", "constraints_func"),
)


def created(kind: str, node: Any) -> Any:
    """The ``sampler`` or the ``pruner`` of a config node.

    Raises UserError if the node names what it may not, if an argument is not valid, or if the result is of another
    kind. The list is asked before anything is imported.
    """
    try:
        return _created(kind, node)
    except UserError as error:
        raise UserError(f"hydra/sweeper/{kind}: {error}") from error.__cause__
    except Exception as error:
        raise UserError(f"hydra/sweeper/{kind}: {refused_by_hydra(error) or _said(error)}") from error


def nsgaiii_sampler(reference_points: list[list[float]] | None = None, **arguments: Any) -> Any:
    """NSGA-III with its reference points from a config, where they are lists."""
    import numpy
    from optuna.samplers import NSGAIIISampler

    if reference_points is not None:
        arguments["reference_points"] = numpy.asarray(reference_points, dtype=float)
    return NSGAIIISampler(**arguments)


def motpe_sampler(**arguments: Any) -> NoReturn:
    """Says what took the place of a sampler that configs for upstream's sweeper may still choose."""
    raise UserError("the 'motpe' sampler was removed from Optuna; type hydra/sweeper/sampler=tpe, which replaced it")


def _said(error: Exception) -> str:
    """The message of an error, with its cause where Hydra leaves that out."""
    said = str(error).partition("\nfull_key:")[0]
    return said if error.__cause__ is None or repr(error.__cause__) in said else f"{said}: {error.__cause__}"


def _created(kind: str, node: Any) -> Any:
    resolved = copy.deepcopy(node) if isinstance(node, DictConfig) else OmegaConf.create(dict(node))
    OmegaConf.set_readonly(resolved, False)
    OmegaConf.resolve(resolved)
    names = (*LISTS[kind], *allowed())
    for target in _targets(OmegaConf.to_container(resolved)):
        if not is_named(target, (*names, *hydra_internals.allowed_by_the_program())):
            raise UserError(refusal(target))
    if not hydra_internals.CHECKS_TARGETS:
        _check_what_is_named(resolved, names)
    if kind == "sampler":
        resolved = _without_preset(resolved, names)
    made = hydra_internals.created(resolved, names)
    if not _is_a(kind, made):
        found = f"{resolved._target_} makes a {type(made).__name__}"
        raise UserError(f"{found}, expected a class of {kind}s: a subclass of Optuna's Base{kind.title()}")
    return made


def _targets(node: Any) -> Iterator[str]:
    """All that a node, or one inside it, names in ``_target_``."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        node = list(node.values())
    if isinstance(node, list | tuple):
        for inner in node:
            yield from _targets(inner)


def _check_what_is_named(node: DictConfig, names: Sequence[str]) -> None:
    """UserError where a name within an allowed package stands for what is defined elsewhere, as ``mine.os.system``."""
    for target in _targets(OmegaConf.to_container(node)):
        if target not in names:
            found = get_object(target)
            defined = f"{getattr(found, '__module__', None)}.{getattr(found, '__qualname__', None)}"
            if not is_named(defined, names):
                raise UserError(refusal(defined))


def _without_preset(node: DictConfig, names: Sequence[str]) -> DictConfig:
    """The node of a user's own class without the arguments of the preset below it that the class does not take."""
    target = str(node._target_)
    if is_named(target, SAMPLERS):
        return node
    named = hydra_internals.created({"_target_": target, "_partial_": True}, names).func
    parameters = inspect.signature(named).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return node
    left_out = [str(key) for key in node if key in OF_THE_PRESET and key not in parameters]
    if left_out:
        log.info("hydra/sweeper/sampler: %s has no %s: left out", target, ", ".join(left_out))
    return OmegaConf.masked_copy(node, [str(key) for key in node if key not in left_out])


def _is_a(kind: str, made: Any) -> bool:
    """Whether an object is a sampler or a pruner; a grid is created when its space is known."""
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler, GridSampler

    if kind == "sampler":
        return isinstance(made, BaseSampler) or (isinstance(made, functools.partial) and made.func is GridSampler)
    return isinstance(made, BasePruner)
