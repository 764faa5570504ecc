"""Trials read plainly are those that Optuna reads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from sweeper.storage import open_storage
from tests.sweeper import postgresql
from tests.sweeper.test_moving import as_text, write_study


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        address = f"sqlite:///{tmp_path_factory.mktemp('reading')}/s.db"
        write_study(address)
        yield address
        return
    with postgresql.server() as address:
        write_study(address)
        yield address


@pytest.mark.parametrize("states", [None, (TrialState.COMPLETE, TrialState.RUNNING)])
@pytest.mark.parametrize(("included", "after"), [(set(), -1), ({2, 5}, 6), ({2, 5, 9}, 6), (set(), 6), (set(), 99)])
def test_what_is_read_equals_what_optuna_reads(
    url: str, states: tuple[TrialState, ...] | None, included: set[int], after: int
) -> None:
    storage = open_storage(url, create=False)
    assert isinstance(storage, RDBStorage)
    study = storage.get_study_id_from_name("s")
    found = storage._get_trials(study, states, included, after)
    expected = RDBStorage._get_trials(storage, study, states, included, after)
    assert [{name: as_text(value) for name, value in vars(trial).items()} for trial in found] == [
        {name: as_text(value) for name, value in vars(trial).items()} for trial in expected
    ]
    assert [list(trial.params) for trial in found] == [list(trial.params) for trial in expected]


def test_a_study_that_is_not_there_is_an_error(url: str) -> None:
    with pytest.raises(KeyError, match="no study"):
        open_storage(url, create=False).get_all_trials(4711)
