"""The names that a config may have in ``_target_``. Each is listed by itself: a package would allow all its functions.

Models and data sources are not listed but checked by their class (``mdaf.sweeper.training.model_factory``,
``mdaf.data.preparing.source``). Launchers and sweepers are plugins, which Hydra looks up itself.
"""

from __future__ import annotations

CALLBACKS = (
    "mdaf.sweeper.hydra_ext.callbacks.Refusal",
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
    # Upstream's functions that create two samplers, and the one that reports that a third was removed.
    f"{_UPSTREAM}._impl.create_nsgaii_sampler",
    f"{_UPSTREAM}._impl.create_nsgaiii_sampler",
    f"{_UPSTREAM}.config.raise_motpe_removed",
)
PRUNERS = tuple(
    f"optuna.pruners.{name}Pruner"
    for name in (
        *("Hyperband", "Median", "Nop", "Patient", "Percentile"),
        *("SuccessiveHalving", "Threshold", "Wilcoxon"),
    )
)
