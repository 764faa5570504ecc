"""Optuna's storage on a database, with calls that can be repeated safely if their answer was lost.

If a connection breaks between a commit and its answer, the client cannot know whether the call was carried out. Most
calls can simply be repeated: they read, or write the same value again. Four cannot. A study or a trial would be created
twice. A trial that this process has claimed would look like another process's. A trial that has been told would refuse
its result. So these four write the token of their call in the same transaction, and look for it when they are repeated.
They lock the row before they look, so that they also see a commit that a frozen server has not finished yet.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Container, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import exc

from mdaf.sweeper.storage import sqlite_file
from mdaf.sweeper.storage.call_watch import listen
from mdaf.sweeper.storage.fast_reads import (
    as_optuna_writes,
    attributes_of,
    check_texts,
    read_trials,
    reported_values_of,
)
from mdaf.sweeper.storage.late_reads import details_for, read_attribute
from mdaf.sweeper.storage.optuna_internals import (
    NAME_PREFIX,
    TRIAL_SYSTEM_ATTRS,
    TRIAL_USER_ATTRS,
    DatabaseStorage,
    FrozenStudy,
    StudyDirectionRow,
    StudyRow,
    StudySystemAttributeRow,
    TrialRow,
    TrialSystemAttributeRow,
    with_identity,
)
from mdaf.sweeper.storage.retrying import retry_calls, this_call

# ---- system attributes of a trial that hold tokens of calls, so that a call whose answer was lost can be repeated
MADE_BY = "made_by"  # the call that created the trial; a study has this attribute too
CHANGED_BY = "changed_by"  # the call that last changed the trial's state


class RepeatableStorage(DatabaseStorage):
    """Optuna's storage with calls that can be repeated, and with fast reads of trials (``fast_reads``)."""

    def __init__(self, url: str, engine_kwargs: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(url, engine_kwargs, **options)
        listen(self.engine)

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        listen(self.engine)

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        call = this_call()
        name = study_name or NAME_PREFIX + call.token
        study = StudyRow(
            study_name=name,
            directions=[StudyDirectionRow(objective=k, direction=d) for k, d in enumerate(directions)],
            system_attributes=[StudySystemAttributeRow(key=MADE_BY, value_json=json.dumps(call.token))],
        )
        try:
            with self.session() as session:
                session.add(study)
        except exc.IntegrityError:
            study_id = self.get_study_id_from_name(name)
            if self.get_study_system_attrs(study_id).get(MADE_BY) == call.token:
                return study_id
            raise DuplicatedStudyError(f"there is a study {name} already") from None
        return self.get_study_id_from_name(name)

    def delete_study(self, study_id: int) -> None:
        try:
            super().delete_study(study_id)
        except KeyError:
            if this_call().attempts < 2:
                raise

    def make_trial(self, study_id: int, template: FrozenTrial | None = None) -> FrozenTrial:
        # Optuna's own method repeats a failed call up to five times, without a check whether it was carried out.
        call = this_call()
        with self.session() as session:
            StudyRow.find_or_raise_by_id(study_id, session, for_update=True)  # the lock makes trial numbers unique
            trial: Any = self._made_by(call.token, study_id, session) if call.attempts > 1 else None
            if trial is None:
                trial = self.add_row(session, study_id, template)
                session.flush()
                _sign(session, trial.trial_id, MADE_BY, call.token)
            return self.trial_from_row(trial) if template is None else with_identity(copy.deepcopy(template), trial)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        call = this_call()
        with self.session() as session:
            self._lock_trial(session, trial_id)
            trial: Any = TrialRow.find_or_raise_by_id(trial_id, session, for_update=True)
            if call.attempts > 1 and _signed(session, trial_id, CHANGED_BY) == call.token:
                return True
            self.check_trial_is_updatable(trial_id, trial.state)
            if state == TrialState.RUNNING and trial.state != TrialState.WAITING:
                return False
            for objective, value in enumerate(values or ()):
                self.set_value(session, trial, objective, value)
            _sign(session, trial_id, CHANGED_BY, call.token)
            trial.state = state
            if state == TrialState.RUNNING:
                trial.datetime_start = datetime.now()
            if state.is_finished():
                trial.datetime_complete = datetime.now()
        return True

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        with as_optuna_writes("the directions of a study"):
            if not (found := super().get_study_directions(study_id)):
                raise ValueError("there are none")
            return found

    def get_all_studies(self) -> list[FrozenStudy]:
        with as_optuna_writes("its studies"):
            found = super().get_all_studies()
            check_texts(study.study_name for study in found)
            return found

    get_study_user_attrs = as_optuna_writes("the attributes of a study")(RDBStorage.get_study_user_attrs)
    get_study_system_attrs = as_optuna_writes("the attributes of a study")(RDBStorage.get_study_system_attrs)
    get_trial = as_optuna_writes("a trial")(RDBStorage.get_trial)

    def fetch_trials(
        self, study_id: int, states: Container[TrialState] | None, included: Collection[int], after: int
    ) -> list[FrozenTrial]:
        wanted = None if states is None else [state for state in TrialState if state in states]
        return read_trials(
            self.engine, study_id, wanted, included, after, lambda *asked: details_for(self, study_id, *asked)
        )

    # What ``late_reads`` reads of finished trials.

    def read_user_attrs(self, keys: Sequence[int]) -> dict[int, dict[str, Any]]:
        """The user attributes of the trials with these keys, by key."""
        with self.engine.connect() as connection, as_optuna_writes("attributes of its trials"):
            return attributes_of(connection, keys, TRIAL_USER_ATTRS)

    def read_reported_values(self, keys: Sequence[int]) -> dict[int, dict[int, float]]:
        """The reported values of the trials with these keys, by key."""
        with self.engine.connect() as connection, as_optuna_writes("reported values of its trials"):
            return reported_values_of(connection, keys)

    def read_attribute(self, study_id: int, name: str) -> dict[int, Any]:
        """The values of one user attribute of a study's finished trials, by their keys."""
        with self.engine.connect() as connection:
            return read_attribute(connection, study_id, name)

    def _lock_trial(self, session: Any, trial_id: int) -> None:
        """Locks the trial's row if the database has no ``SELECT ... FOR UPDATE``; here it does nothing."""

    def _made_by(self, token: str, study_id: int, session: Any) -> Any:
        """The trial that an earlier attempt of this call created; None if there is none."""
        attribute = TrialSystemAttributeRow
        found = session.query(TrialRow).join(attribute, attribute.trial_id == TrialRow.trial_id)
        found = found.filter(TrialRow.study_id == study_id, attribute.key == MADE_BY)
        return found.filter(attribute.value_json == json.dumps(token)).one_or_none()


@retry_calls
class ServerStorage(RepeatableStorage):
    """Optuna's storage on a database server. Its calls wait while the server is away."""


@retry_calls
class SQLiteStorage(RepeatableStorage):
    """Optuna's storage on SQLite, safe for several processes.

    Optuna reads a trial's state and then changes it. On other databases ``SELECT ... FOR UPDATE`` locks the row between
    the two. SQLite has no such clause, so two processes could take the same waiting trial. Here a write takes the lock
    before the state is read.
    """

    def __init__(self, url: str, engine_kwargs: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(url, engine_kwargs, **options)
        sqlite_file.check_same_file(self.engine)

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        sqlite_file.check_same_file(self.engine)

    def _lock_trial(self, session: Any, trial_id: int) -> None:
        # Any write locks the database until the commit.
        lock = "UPDATE trials SET trial_id = trial_id WHERE trial_id = ?"
        session.connection().exec_driver_sql(lock, (trial_id,))

    def make_trial(self, study_id: int, template: FrozenTrial | None = None) -> FrozenTrial:
        lock = "UPDATE studies SET study_id = study_id WHERE study_id = ?"
        self.scoped_session().connection().exec_driver_sql(lock, (study_id,))
        return super().make_trial(study_id, template)


_ATTRS = TRIAL_SYSTEM_ATTRS.c


def _sign(session: Any, trial_id: int, name: str, token: str) -> None:
    """Writes a call's token to a trial's attribute, in the call's transaction. The trial's row must be locked."""
    ours = sa.and_(_ATTRS.trial_id == trial_id, _ATTRS.key == name)
    if session.execute(TRIAL_SYSTEM_ATTRS.update().where(ours).values(value_json=json.dumps(token))).rowcount == 0:
        written = {"trial_id": trial_id, "key": name, "value_json": json.dumps(token)}
        session.execute(TRIAL_SYSTEM_ATTRS.insert().values(written))


def _signed(session: Any, trial_id: int, name: str) -> str | None:
    statement = sa.select(_ATTRS.value_json).where(_ATTRS.trial_id == trial_id, _ATTRS.key == name)
    found = session.execute(statement).scalar()
    return None if found is None else json.loads(found)
