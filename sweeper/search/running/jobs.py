"""Turns trials into jobs: a trial's parameters become overrides, and its number becomes the job's number."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf
from optuna.trial import Trial

from mdaf.errors import UserError
from mdaf.sweeper.hydra_ext.overrides import hydra_value, key_of
from mdaf.sweeper.hydra_ext.run_config import is_our_schema, tells_only
from mdaf.sweeper.storage.optuna_internals import stored_trial, suggest
from mdaf.sweeper.trials.admitted import memory_overrides, refusal
from mdaf.sweeper.trials.compatibility import run_config
from mdaf.sweeper.trials.points.space import Wanted, checked_value
from mdaf.sweeper.trials.retries import point_of
from mdaf.sweeper.trials.user_attrs import ADDED, OVERRIDES, RETRY_OVERRIDES, RUN_CONFIG

if TYPE_CHECKING:
    from mdaf.sweeper.racing.race import Race


def place_of_trial(
    config: DictConfig, folder: str, storage: str | None, study_name: str | None, number: int
) -> list[str]:
    """The overrides that tell a job its folder and, if it is this program's own, its study and its trial's number."""
    place = [f"hydra.sweep.dir={hydra_value(folder)}"]
    if is_our_schema(config) and storage is not None:
        place += [f"sweep.study={hydra_value(study_name)}", f"sweep.trial={number}"]
        if storage != OmegaConf.select(config, "sweep.storage"):
            place.append(f"sweep.storage={hydra_value(storage)}")
    return place


class Jobs:
    """What all jobs of a sweep have in common, and the launcher that runs them.

    ``search``        the search space and the fixed overrides.
    ``folder``        the folder of the sweep. A job's folder is in it and has its trial's number as its name.
    ``storage``       the URL of the study database; None for a study in memory.
    ``extend_space``  the user's function that suggests further parameters. It is called with the config and a trial.
    ``only_enqueued`` whether a trial has the parameters that it was enqueued with and no others.
    ``race``          the race whose runs they are, each with a seed of its own.
    """

    def __init__(
        self,
        config: DictConfig,
        launcher: Launcher,
        search: Wanted,
        *,
        folder: str,
        storage: str | None,
        study_name: str,
        extend_space: Callable[[DictConfig, Trial], None] | None = None,
        only_enqueued: bool = False,
        race: Race | None = None,
    ) -> None:
        self.config = config
        self.launcher = launcher
        self.search = search
        self.folder = folder
        self.storage = storage
        self.study_name = study_name
        self.extend_space = extend_space
        self.only_enqueued = only_enqueued
        self.race = race

    @property
    def attributes(self) -> dict[str, Any]:
        """The user attributes that a trial needs to be run again, besides its parameters."""
        added = {name: sign for name, sign in self.search.signs.items() if sign}
        repeatable = {} if self._run_config is None else {RUN_CONFIG: self._run_config}
        fixed = [text for text in self.search.fixed if not (self._is_ours and tells_only(text))]
        return {OVERRIDES: fixed} | ({ADDED: added} if added else {}) | repeatable

    @functools.cached_property
    def _is_ours(self) -> bool:
        return is_our_schema(self.config)

    @functools.cached_property
    def _run_config(self) -> str | None:
        return run_config(self.config, self.search.space, self.search.fixed)

    @property
    def micro_batch(self) -> int | None:
        """The config's micro-batch, which a retry may halve; None if the program has no such key."""
        device = OmegaConf.select(self.config, "device")
        if not OmegaConf.is_dict(device) or "micro_batch" not in device:
            return None
        return device.micro_batch or OmegaConf.select(self.config, "training.batch_size")

    def suggest(self, trial: Trial) -> None:
        """Asks the sampler for a trial's parameters. Raises UserError if an enqueued value is not in the space."""
        space = self.search.space
        if self.only_enqueued:
            enqueued = point_of(stored_trial(trial.study, trial))
            space = {name: distribution for name, distribution in space.items() if name in enqueued}
        for name, distribution in space.items():
            try:
                suggest(trial, name, distribution)
            except ValueError as error:  # enqueued by another program
                raise UserError(
                    f"trial {trial.number}: {name}: the value that it was enqueued with is none of the space: {error}"
                ) from None
        if self.extend_space:
            self.extend_space(self.config, trial)
        if self.race is not None:
            self.race.settle(trial)

    def launch(self, trials: Sequence[Trial]) -> list[JobReturn]:
        """Launches one job for each trial. A job's number and its folder's name are its trial's number."""
        jobs = [self.overrides_of(trial) for trial in trials]
        if [trial.number for trial in trials] == list(range(trials[0].number, trials[0].number + len(trials))):
            return list(self.launcher.launch(jobs, initial_job_idx=trials[0].number))
        # A launcher numbers its jobs consecutively, so trials without consecutive numbers are launched one by one.
        return [
            result
            for trial, job in zip(trials, jobs, strict=True)
            for result in self.launcher.launch([job], initial_job_idx=trial.number)
        ]

    def overrides_of(self, trial: Trial) -> list[str]:
        """The overrides of a trial's job: its parameters, the fixed overrides and its folder.

        A job of this program also gets its study and its trial's number. Other programs' jobs find them by ``attach``.
        """
        retry = memory_overrides(trial.user_attrs.get(RETRY_OVERRIDES))
        changed = {key_of(override) for override in retry}
        fixed = [override for override in self.search.fixed if key_of(override) not in changed]
        seed = [self.race.seed_override(trial)] if self.race is not None else []
        place = place_of_trial(self.config, self.folder, self.storage, self.study_name, trial.number)
        point = self.search.overrides_of(self._point(trial))
        return [*fixed, *seed, *retry, *point, *self.search.own, *place]

    def _point(self, trial: Trial) -> dict[str, Any]:
        """The trial's parameters that this sweep searches. An enqueued trial may have other parameters too.

        Raises UserError for a parameter of a custom search space that a study must not set.
        """
        params, space = trial.params, self.search.space
        point = {name: checked_value(name, params[name], space[name]) for name in space if name in params}
        if self.extend_space is None:
            return point
        others = {name: value for name, value in params.items() if name not in space}
        for override in Wanted({}, {}, [], []).overrides_of(others):
            if why := refusal(override, own=False):
                raise UserError(f"hydra.sweeper.custom_search_space: {override}: {why}")
        return {**point, **others}
