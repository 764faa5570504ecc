"""All uses of private names of Optuna in this project, under public names. To support another version, start here.

``tests/sweeper/storage/test_optuna_internals.py`` tests each of them with the installed version, and tests that no
other file uses a private name of Optuna.
"""

from __future__ import annotations

import abc
import functools
import importlib
import pickle
import re
import sys
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, QMCSampler, _cmaes
from optuna.samplers._lazy_random_state import LazyRandomState
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._base import DEFAULT_STUDY_NAME_PREFIX
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session, _VersionManager
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import get_lock_file
from optuna.study import Study, StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.study._multi_objective import _get_pareto_front_trials_by_trials
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import exc

if TYPE_CHECKING:
    from numpy.random import RandomState

# ---- studies and trials


def storage_of(study: Study) -> BaseStorage:
    """The study's storage. For a database it is Optuna's cache of finished trials, with the storage below it."""
    return study._storage


def study_id_of(study: Study | FrozenStudy) -> int:
    """The study's primary key in its storage."""
    return study._study_id


def trial_id_of(trial: Trial | FrozenTrial) -> int:
    """The trial's primary key in its storage. It is not the trial's number, which counts from 0 within its study."""
    return trial._trial_id


def stored_trial(study: Study, trial: Trial | FrozenTrial) -> FrozenTrial:
    """The trial as the storage holds it now."""
    return storage_of(study).get_trial(trial_id_of(trial))


class PartlyReadTrial(FrozenTrial):
    """A finished trial of which two fields are read when they are asked for: ``user_attrs``, ``intermediate_values``.

    From then on it is like any other, and so is each copy that is made of it or pickled.
    ``details``  has the method ``read``, which takes the name of a field and the trial's key.
    """

    def __init__(self, details: Any, **fields: Any) -> None:
        super().__init__(**fields, user_attrs={}, intermediate_values={})
        del self._user_attrs, self.intermediate_values
        self.details = details

    def __getattr__(self, name: str) -> Any:
        """Called for what the trial does not hold yet."""
        if name not in ("_user_attrs", "intermediate_values") or "details" not in vars(self):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        found = self.details.read(name.removeprefix("_"), self._trial_id)
        setattr(self, name, found)
        return found

    def whole(self) -> FrozenTrial:
        """The trial as one of Optuna's own, with everything read."""
        fields = {**vars(self), "_user_attrs": self.user_attrs, "intermediate_values": self.intermediate_values}
        del fields["details"]
        return _with_fields(FrozenTrial, fields)

    def __copy__(self) -> FrozenTrial:
        return _with_fields(PartlyReadTrial, vars(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return _with_fields, (FrozenTrial, vars(self.whole()))

    def __eq__(self, other: Any) -> bool:
        return bool(self.whole() == (other.whole() if isinstance(other, PartlyReadTrial) else other))

    __hash__ = FrozenTrial.__hash__


def _with_fields(kind: type[FrozenTrial], fields: Mapping[str, Any]) -> FrozenTrial:
    trial = kind.__new__(kind)
    vars(trial).update(fields)
    return trial


def details_of(trial: FrozenTrial) -> Any:
    """Of a ``PartlyReadTrial`` whose user attributes have not been read: its ``details``; else None."""
    held = vars(trial)
    return None if "_user_attrs" in held else held["details"]


def trial_of(study: Study, number: int) -> Trial:
    """The trial with this number, as an object to report to. Raises KeyError if the study has no such trial."""
    return Trial(study, storage_of(study).get_trial_id_from_study_id_trial_number(study_id_of(study), number))


def add_trial(study: Study, template: FrozenTrial) -> int:
    """Writes a trial like the template, in one transaction. Returns its key, which ``Study.add_trial`` does not."""
    return storage_of(study).create_new_trial(study_id_of(study), template_trial=template)


def cache_trials(study: Study, trials: Sequence[FrozenTrial] | None) -> None:
    """Sets the trials that samplers see in this thread until the next ask. None lets them read the study again."""
    study._thread_local.cached_all_trials = trials if trials is None else list(trials)


def suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    """The trial's value of a parameter: the enqueued value if there is one, else the sampler's."""
    return trial._suggest(name, distribution)


def contains(distribution: BaseDistribution, value: float) -> bool:
    """Whether a distribution contains a value, which is given in the storage's representation."""
    return distribution._contains(value)


def pareto_front(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> list[FrozenTrial]:
    """The Pareto front: the trials that no other trial dominates."""
    return _get_pareto_front_trials_by_trials(trials, directions)


def importances_of(study: Study) -> dict[str, float]:
    """``optuna.importance.get_param_importances`` of a study: PED-ANOVA, the greatest first, with a sum of 1."""
    found = _ped_anova().PedAnovaImportanceEvaluator().evaluate(study)
    total = sum(found.values())
    return {name: value / total if total else 1 / len(found) for name, value in found.items()}


def _ped_anova() -> Any:
    """The module of PED-ANOVA without the others of its package, of which one imports scikit-learn for a second."""
    package = "optuna.importance"
    if package in sys.modules:
        return importlib.import_module(f"{package}._ped_anova.evaluator")
    bare = ModuleType(package)
    bare.__path__ = [str(Path(optuna.__file__).parent / "importance")]
    sys.modules[package] = bare
    try:
        return importlib.import_module(f"{package}._ped_anova.evaluator")
    finally:
        del sys.modules[package]  # whoever imports the package later gets all of it


# ---- samplers


def samplers_within(sampler: BaseSampler) -> Iterator[BaseSampler]:
    """The samplers that are attributes of a sampler, such as the one that it uses for its first trials."""
    return (part for part in vars(sampler).values() if isinstance(part, BaseSampler))


def generators_of(sampler: BaseSampler) -> Iterator[tuple[str, RandomState]]:
    """The random generators of a sampler, with the names of the attributes that hold them."""
    return ((name, part.rng) for name, part in vars(sampler).items() if isinstance(part, LazyRandomState))


def choose_point_of_sequence(sampler: QMCSampler, index: int) -> None:
    """Makes a quasi-random sampler propose the point with this index of its sequence, whatever the study contains."""
    sampler._find_sample_id = lambda study, search_space: index  # type: ignore[method-assign]


def read_state_of_cmaes_by(loads: Callable[[bytes], Any]) -> None:
    """Makes the sampler CMA-ES read its state from the attributes of trials with ``loads``, instead of pickle."""
    _cmaes.pickle = SimpleNamespace(dumps=pickle.dumps, loads=loads)  # type: ignore[assignment]


# ---- storages


def without_cache(storage: BaseStorage) -> BaseStorage:
    """The storage itself, without the cache that Optuna puts in front of a database."""
    return getattr(storage, "_backend", storage)


class JournalFile(JournalFileBackend):
    """Optuna's journal in a file, with public names for its path and its writers' lock."""

    @property
    def path(self) -> str:
        return self._file_path

    def locked(self) -> AbstractContextManager[None]:
        """A context in which no other process writes to the journal."""
        return get_lock_file(self._lock)


class DatabaseStorage(RDBStorage, abc.ABC):
    """Optuna's storage on a database, with public names for the methods that subclasses replace or call."""

    expected: Any = None  # of ``late_reads``: what its trials hold, if they may be read late

    @abc.abstractmethod
    def make_trial(self, study_id: int, template: FrozenTrial | None = None) -> FrozenTrial:
        """Writes a new trial. Returns it with its number and its key."""

    @abc.abstractmethod
    def fetch_trials(
        self, study_id: int, states: Container[TrialState] | None, included: Collection[int], after: int
    ) -> list[FrozenTrial]:
        """The trials of a study in these states whose key is in ``included`` or greater than ``after``."""

    def session(self) -> AbstractContextManager[Any]:
        """A transaction, committed at the end of the context. Errors of the database are raised as Optuna's errors."""
        return _create_scoped_session(self.scoped_session)

    def add_row(self, session: Any, study_id: int, template: FrozenTrial | None) -> Any:
        """Adds a trial's rows to a transaction. Returns the row of the table of trials."""
        return self._get_prepared_new_trial(study_id, template, session)

    def trial_from_row(self, row: Any) -> FrozenTrial:
        """The trial of a row of the table of trials and of its rows in the other tables."""
        return self._build_frozen_trial_from_trial_model(row)

    def set_value(self, session: Any, row: Any, objective: int, value: float) -> None:
        """Adds the value of an objective to a transaction."""
        self._set_trial_value_without_commit(session, row, objective, value)

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        return self.make_trial(study_id, template_trial)

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        return self.fetch_trials(study_id, states, included_trial_ids, trial_id_greater_than)


def _without_alembic(name: str, own: Callable[[_VersionManager], str | None]) -> None:
    """Has Optuna's check of a database's version read one row and a few lines, where importing Alembic takes 0.1 s.

    ``own`` answers in place of the method of this name; where it answers None, Optuna does.
    """
    theirs = getattr(_VersionManager, name)

    @functools.wraps(theirs)
    def answer(self: _VersionManager) -> Any:
        return own(self) or theirs(self)

    setattr(_VersionManager, name, answer)


def _version_in(manager: _VersionManager) -> str | None:
    """The version of a database's tables, if it has one."""
    try:
        with manager.engine.connect() as connection:
            return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    except (exc.DBAPIError, exc.MultipleResultsFound):  # no such table, or several versions
        return None


@functools.cache
def _latest_version() -> str | None:
    """The version of the tables that Optuna makes: of those in its folder the one that no other one follows."""
    texts = [file.read_text() for file in Path(models.__file__).with_name("alembic").glob("versions/v*.py")]
    own, followed = (
        {match[1] for text in texts if (match := re.search(rf'^{name} = "(.+)"$', text, re.MULTILINE))}
        for name in ("revision", "down_revision")
    )
    last = own - followed
    return last.pop() if len(last) == 1 and len(own) == len(texts) else None


_without_alembic("_init_alembic", _version_in)
_without_alembic("get_current_version", _version_in)
_without_alembic("get_head_version", lambda manager: _latest_version())


def with_identity(template: FrozenTrial, row: Any) -> FrozenTrial:
    """The template with the number, the key and the start time of the row that was created from it."""
    template.number, template._trial_id, template.datetime_start = row.number, row.trial_id, row.datetime_start
    return template


# ---- the tables of a study database: SQLAlchemy's classes of their rows, and the tables themselves

NAME_PREFIX = DEFAULT_STUDY_NAME_PREFIX  # the start of a study's name that Optuna makes up
StudyRow: Any = models.StudyModel
StudyDirectionRow: Any = models.StudyDirectionModel
StudySystemAttributeRow: Any = models.StudySystemAttributeModel
TrialRow: Any = models.TrialModel
TrialSystemAttributeRow: Any = models.TrialSystemAttributeModel

STUDIES: Any = models.StudyModel.__table__
STUDY_DIRECTIONS: Any = models.StudyDirectionModel.__table__
STUDY_USER_ATTRS: Any = models.StudyUserAttributeModel.__table__
STUDY_SYSTEM_ATTRS: Any = models.StudySystemAttributeModel.__table__
TRIALS: Any = models.TrialModel.__table__
TRIAL_PARAMS: Any = models.TrialParamModel.__table__
TRIAL_VALUES: Any = models.TrialValueModel.__table__
TRIAL_INTERMEDIATE_VALUES: Any = models.TrialIntermediateValueModel.__table__
TRIAL_USER_ATTRS: Any = models.TrialUserAttributeModel.__table__
TRIAL_SYSTEM_ATTRS: Any = models.TrialSystemAttributeModel.__table__
TRIAL_HEARTBEATS: Any = models.TrialHeartbeatModel.__table__
TABLE_NAMES = sorted(models.BaseModel.metadata.tables)

value_from_columns: Callable[..., float] = models.TrialValueModel.stored_repr_to_value
reported_from_columns: Callable[..., float] = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value
