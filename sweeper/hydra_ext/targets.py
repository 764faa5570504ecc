"""What a config may name in ``_target_``: classes, one by one. A package would name every function in it.

Models and sources of logs are told by what they are instead: ``mdaf.sweeper.training.model_factory``,
``mdaf.data.preparing.source``. Launchers and sweepers are Hydra's plugins, which it looks up among its own.
"""

from __future__ import annotations

CALLBACKS = (
    "mdaf.sweeper.hydra_ext.callbacks.Refusal",
    "mdaf.sweeper.hydra_ext.callbacks.MaskedOverrides",
    "mdaf.multirun.launching.callback.RunTable",
)

_UPSTREAM = "hydra_plugins.hydra_optuna_sweeper"
# BruteForceSampler is left out: it stops the study itself, which Optuna allows in Study.optimize alone. Use a grid.
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
    # Upstream's own makers of two samplers, and the one that says that a third is gone.
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
