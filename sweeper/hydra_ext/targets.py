"""The names that a config may have in ``_target_``. Each is listed by itself: a package would allow all its functions.

The user of a program adds others in the environment variable ``MDAF_ALLOW`` (``mdaf.naming.allowed``).

Models and data sources of this project are not listed but checked by their class
(``mdaf.sweeper.training.building.model_factory``, ``mdaf.data.preparing.source``). Launchers and sweepers are plugins,
which Hydra looks up itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import InstantiationException

from mdaf.errors import UserError
from mdaf.naming.allowed import refusal

CALLBACKS = (
    "mdaf.sweeper.hydra_ext.callbacks.Refusal",
    "mdaf.sweeper.hydra_ext.callbacks.WhomToTell",
    "mdaf.sweeper.hydra_ext.callbacks.MaskedOverrides",
    "mdaf.multirun.launching.callback.RunTable",
)

_UPSTREAM = "hydra_plugins.hydra_optuna_sweeper"
# BruteForceSampler is left out: it stops the study, which Optuna allows only in Study.optimize. Use a grid instead.
SAMPLERS = (
    *(
        f"optuna.samplers.{name}Sampler"
        for name in ("CmaEs", "GP", "Grid", "NSGAII", "NSGAIII", "PartialFixed", "QMC", "Random", "TPE")
    ),
    *(
        f"optuna.samplers.nsgaii.{name}"
        for name in (
            *("BLXAlphaCrossover", "SBXCrossover", "SPXCrossover", "UNDXCrossover", "UniformCrossover"),
            *("VSBXCrossover", "PolynomialMutation"),
        )
    ),
    # Functions of ours and upstream that create two samplers, and report that a third was removed.
    "mdaf.sweeper.hydra_ext.instantiation.nsgaiii_sampler",
    "mdaf.sweeper.hydra_ext.instantiation.motpe_sampler",
    f"{_UPSTREAM}._impl.create_nsgaii_sampler",
    f"{_UPSTREAM}._impl.create_nsgaiii_sampler",
    f"{_UPSTREAM}.config.raise_motpe_removed",
    "mdaf.sweeper.racing.sampler.RacingSampler",
)
PRUNERS = tuple(
    f"optuna.pruners.{name}Pruner"
    for name in (
        *("Hyperband", "Median", "Nop", "Patient", "Percentile"),
        *("SuccessiveHalving", "Threshold", "Wilcoxon"),
    )
)


def refused_by_hydra(error: Exception) -> str | None:
    """The same if Hydra refused what a name turned out to stand for; None for its other errors."""
    found = re.match(r"Target '([\w.]+)'.* is not in the Hydra execution whitelist", str(error))
    if found:
        return refusal(found[1])
    never = re.match(r"Target '([\w.]+)'.*? cannot be authorized by the\s+Hydra\s+execution whitelist", str(error))
    if never:
        return (
            f"no config may name {never[1]}, whatever MDAF_ALLOW says: what it runs would be up to the config; "
            "expected a function or class of your own that calls it"
        )
    return None


@contextmanager
def explained() -> Iterator[None]:
    """Turns Hydra's refusal of a callback into a UserError with the line to type."""
    try:
        yield
    except InstantiationException as error:
        if not (said := refused_by_hydra(error)):
            raise
        key = re.search(r"^full_key: (\S+)", str(error), re.MULTILINE)
        raise UserError(f"{key[1]}: {said}" if key else said) from None
