"""What is typed after ``python -m multirun`` for the runs that it starts, and what of a study goes into them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from optuna.study import Study

from mdaf.errors import UserError
from mdaf.multirun.phase4.plan import Winner
from mdaf.sweeper.hydra_ext.configs.sources import ORIGIN, Configs
from mdaf.sweeper.hydra_ext.overrides import hydra_value
from mdaf.sweeper.trials.admitted import SETTABLE, is_allowed_code, path_in, shown_refusals
from mdaf.sweeper.trials.points.space import key_of
from mdaf.terminal.programs import command

INSTEAD = {  # what the points and the seeds are made of has keys of its own
    "regularization": "points=[...]",
    "seed": "seeds=[...]",
    "training.epochs": "epochs=...",
    "training.patience": "epochs=..., which every run trains to its end",
}


def split(arguments: Sequence[str]) -> list[str]:
    """The arguments as Hydra gets them: overrides of a run's own keys become one of ``overrides``.

    Those of its tracker become one of ``run_tracker``, which Hydra does not take for the group: they are no part of
    what is compared.

    UserError for those that Phase 4 sets itself.
    """
    typed = [a for a in arguments if not a.startswith("-") and key_of(a).partition(".")[0] in SETTABLE]
    for override in typed:
        key = key_of(override)
        if instead := INSTEAD.get(key) or INSTEAD.get(key.partition(".")[0]):
            raise UserError(f"{key}: Phase 4 sets it for each of its runs; expected {instead}")
    tracked = [a for a in arguments if not a.startswith("-") and key_of(a).partition(".")[0] == "tracker"]
    rest = [argument for argument in arguments if argument not in (*typed, *tracked)]
    lists = {"run_tracker": tracked, "overrides": typed}
    return [*rest, *(f"{key}=[{','.join(map(hydra_value, found))}]" for key, found in lists.items() if found)]


def check_origin(study: Study, typed: Sequence[str], configs: Configs) -> None:
    """UserError where the study was swept with configs of its user's own, and nothing of where they are was typed."""
    said = Configs.said_by(study.user_attrs.get(ORIGIN))
    if said.words() and not configs.words():
        words = [*said.words(), f"study={hydra_value(study.study_name)}", *typed]
        raise UserError(
            f"study {study.study_name} was swept with {shlex.join(said.words())}, which is taken from no study; if "
            f"that is right, type it: {command('multirun')} {shlex.join(words)}"
        )


def overrides_of(trial: Winner, typed: Sequence[str], configs: Configs) -> tuple[str, ...]:
    """A trial's overrides with what was typed in their place. UserError where its study says what it may not."""
    keys = {key_of(override) for override in typed}
    refused = {override: why for override, why in trial.refused.items() if key_of(override) not in keys}
    if refused:
        own = [override for override in refused if path_in(override) or is_allowed_code(override)]
        whys = shown_refusals(refused)
        words = shlex.join([*configs.words(), f"study={hydra_value(trial.study)}", *typed, *own])
        line = f"{command('multirun')} {words}"
        way = f"if that is right, type it: {line}" if len(own) == len(refused) else "nothing of it is run"
        raise UserError(f"study {trial.study}, trial {trial.number}: {whys}; {way}")
    return (*(override for override in trial.overrides if key_of(override) not in keys), *typed)
