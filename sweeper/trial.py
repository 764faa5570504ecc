"""A job's own link to its Optuna trial, from wherever the job runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from omegaconf import DictConfig, OmegaConf
from optuna.samplers import RandomSampler
from optuna.trial import Trial

from sweeper.errors import UserError
from sweeper.storage import open_storage


class TrialLink:
    """The trial that this job trains: reports go to it, and it may ask the job to stop."""

    def __init__(self, storage_url: str, study_name: str, number: int, pruner: optuna.pruners.BasePruner) -> None:
        storage = open_storage(storage_url, create=False)
        # The sampler proposed the point already; a cheap one here keeps Trial() from sampling again.
        study = optuna.load_study(study_name=study_name, storage=storage, sampler=RandomSampler(), pruner=pruner)
        trial_id = storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
        self.study_name = study_name
        self.number = number
        self._trial = Trial(study, trial_id)

    def check_parameters(self, cfg: DictConfig, choices: Mapping[str, str]) -> dict[str, Any]:
        """The effective value of every searched parameter. UserError if one is not what the study recorded.

        ``choices`` holds the options of the config groups, since a group is searched by its option's name.
        """
        effective = {}
        for name, suggested in self._trial.params.items():
            found = choices[name] if name in choices else OmegaConf.select(cfg, name)
            if not _same(found, suggested):
                raise UserError(
                    f"{name}: the study suggested {suggested} for trial {self.number} but the job's config holds "
                    f"{found}; another override sets it too, take that one away"
                )
            effective[name] = found
        return effective

    def record(self, attributes: Mapping[str, Any]) -> None:
        """Writes user attributes, in plain types."""
        for name, value in attributes.items():
            self._trial.set_user_attr(name, value)

    def report(self, epoch: int, value: float) -> bool:
        """Reports the value of an epoch; True if the pruner asks the job to stop."""
        self._trial.report(value, epoch)
        return self._trial.should_prune()


def _same(found: Any, suggested: Any) -> bool:
    if isinstance(found, int | float) and isinstance(suggested, int | float):
        return float(found) == float(suggested)
    return found == suggested
