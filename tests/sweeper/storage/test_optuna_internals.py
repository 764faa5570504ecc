"""Optuna's private names, each in the form that this project expects of the installed version."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import CmaEsSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler, _cmaes
from optuna.storages import InMemoryStorage, RDBStorage, get_storage
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from mdaf.sweeper.storage import optuna_internals as internals

X = {"x": FloatDistribution(0, 1)}
ROOT = Path(__file__).parents[3]
HOUSES = ("sweeper", "multirun", "benchmarks", "conf", "mdaf")
OF_HYDRA = {"hydra_internals.py"}
OF_PEERS = {ROOT / "benchmarks/peers/server.py"}  # drives other libraries as their own loops do, in their environment
# Private names of other libraries.
OTHERS = (
    "torch.",
    "os._exit",
    "parser._actions",
    "Spread._fields",
    "child._is_",
    "cause.parent_node.",
)


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(storage=InMemoryStorage(), study_name="s")


@pytest.fixture
def database(tmp_path: Path) -> RDBStorage:
    return RDBStorage(f"sqlite:///{tmp_path}/s.db")


def test_a_study_knows_its_storage_and_its_key(study: optuna.Study) -> None:
    storage = internals.storage_of(study)
    assert isinstance(storage, InMemoryStorage)
    assert storage.get_study_name_from_id(internals.study_id_of(study)) == "s"
    [frozen] = storage.get_all_studies()
    assert isinstance(frozen, internals.FrozenStudy)
    assert internals.study_id_of(frozen) == internals.study_id_of(study)


def test_a_trial_knows_its_key_and_is_found_by_it_and_by_its_number(study: optuna.Study) -> None:
    trial = study.ask()
    assert internals.stored_trial(study, trial).number == trial.number
    assert internals.trial_id_of(study.trials[0]) == internals.trial_id_of(trial)
    internals.trial_of(study, 0).report(0.5, 1)
    assert study.trials[0].intermediate_values == {1: 0.5}


def test_a_trial_is_added_whole_and_its_key_is_told(study: optuna.Study) -> None:
    key = internals.add_trial(study, create_trial(state=TrialState.RUNNING, user_attrs={"worker": "me"}))
    [trial] = study.trials
    assert (internals.trial_id_of(trial), trial.state, trial.user_attrs) == (key, TrialState.RUNNING, {"worker": "me"})


def test_samplers_read_the_trials_of_the_cache_that_an_ask_fills(study: optuna.Study) -> None:
    study.ask()
    assert isinstance(vars(study)["_thread_local"], threading.local)
    cached = "cached_all_trials"
    internals.cache_trials(study, study.trials)
    assert len(getattr(vars(study)["_thread_local"], cached)) == 1
    assert len(study._get_trials(deepcopy=False, use_cache=True)) == 1
    internals.cache_trials(study, [])
    assert study._get_trials(deepcopy=False, use_cache=True) == []
    internals.cache_trials(study, None)
    assert len(study._get_trials(deepcopy=False, use_cache=True)) == 1


def test_a_parameter_is_suggested_from_its_distribution_or_as_it_was_enqueued(study: optuna.Study) -> None:
    study.enqueue_trial({"x": 0.25})
    assert internals.suggest(study.ask(), "x", X["x"]) == 0.25
    assert 0 <= internals.suggest(study.ask(), "x", X["x"]) <= 1


def test_a_distribution_says_what_it_holds() -> None:
    assert internals.contains(FloatDistribution(0, 1), 0.5)
    assert not internals.contains(FloatDistribution(0, 1), 1.5)
    assert internals.contains(IntDistribution(1, 9, step=2), 3.0)
    assert not internals.contains(IntDistribution(1, 9, step=2), 4.0)
    assert internals.contains(CategoricalDistribution(["a", "b"]), 1.0)


def test_the_pareto_front_holds_what_no_other_trial_is_better_than_in_everything() -> None:
    trials = [create_trial(values=values) for values in ([1.0, 0.0], [0.0, 1.0], [2.0, 2.0])]
    assert internals.pareto_front(trials, [StudyDirection.MINIMIZE] * 2) == trials[:2]


def test_a_trial_reads_its_attributes_and_its_reports_when_it_is_asked_for_them() -> None:
    class Details:
        read_fields: ClassVar[list[str]] = []

        def read(self, field: str, key: int) -> dict[Any, Any]:
            self.read_fields.append(field)
            return {"of": key}

    whole = create_trial(value=0.5, params={"x": 0.5}, distributions=X)
    names = ("number", "state", "datetime_start", "datetime_complete", "params", "distributions", "system_attrs")
    fields = {name: getattr(whole, name) for name in names}
    trial = internals.PartlyReadTrial(Details(), **fields, value=0.5, trial_id=7)
    assert (trial.value, trial.params, Details.read_fields) == (0.5, {"x": 0.5}, [])
    assert internals.details_of(trial) is not None
    assert (trial.user_attrs, trial.user_attrs, trial.intermediate_values) == ({"of": 7}, {"of": 7}, {"of": 7})
    assert Details.read_fields == ["user_attrs", "intermediate_values"]
    assert internals.details_of(trial) is None
    assert internals.details_of(whole) is None
    assert set(vars(trial.whole())) == set(vars(whole))


@pytest.mark.parametrize("trials", [2, 3, 60])
@pytest.mark.parametrize("directions", [["maximize"], ["minimize"], ["minimize", "maximize"]])
def test_importances_are_those_of_optuna(trials: int, directions: list[str]) -> None:
    study = optuna.create_study(directions=directions, sampler=RandomSampler(seed=1))
    space = {**X, "y": FloatDistribution(1e-3, 1, log=True), "k": CategoricalDistribution(["a", "b"])}
    for _ in range(trials):
        trial = study.ask(space)
        study.tell(trial, [trial.params["x"] + 0.1 * trial.params["y"]] * len(directions))
    assert internals.importances_of(study) == pytest.approx(optuna.importance.get_param_importances(study))
    same = create_trial(value=1.0, params={"x": 0.5}, distributions={"x": FloatDistribution(0.5, 0.5)})
    study = optuna.create_study()
    study.add_trials([same, same])
    assert internals.importances_of(study) == optuna.importance.get_param_importances(study)


def test_neither_opening_a_database_nor_its_importances_import_what_takes_long(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    study = optuna.create_study(storage=url, study_name="s")
    for value in (0.1, 0.2, 0.3):
        study.add_trial(create_trial(value=value, params={"x": value}, distributions=X))
    code = (
        "import sys\nfrom mdaf.sweeper.storage.opening import open_storage\n"
        "from mdaf.sweeper.study.queries import load_study\nfrom mdaf.sweeper.study.summaries import importances\n"
        f"print(importances(load_study(open_storage({url!r}, create=False), 's')))\n"
        "print(sorted({'alembic', 'sklearn', 'scipy', 'pandas'} & set(sys.modules)))\n"
        "from optuna.importance import FanovaImportanceEvaluator as whole\nprint(whole.__name__)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert said.splitlines() == ["{'x': 1.0}", "[]", "FanovaImportanceEvaluator"]


@pytest.mark.parametrize("kind", [RandomSampler, TPESampler, NSGAIISampler, CmaEsSampler, QMCSampler])
def test_a_samplers_generators_are_found_and_seed_all_that_it_draws(kind: Any) -> None:
    def draws() -> list[Any]:
        sampler = kind(seed=1)
        for part in (sampler, *internals.samplers_within(sampler)):
            for _, generator in internals.generators_of(part):
                generator.seed(7)
        study = optuna.create_study(sampler=sampler)
        return [study.ask(X).params["x"] for _ in range(3)]

    assert draws() == draws()
    found = {name for part in (kind(), *internals.samplers_within(kind())) for name, _ in internals.generators_of(part)}
    assert found


def test_a_quasi_random_sampler_takes_the_point_that_it_is_told() -> None:
    def point(index: int) -> float:
        sampler = QMCSampler(qmc_type="halton", scramble=False)
        study = optuna.create_study(sampler=sampler)
        for _ in range(2):  # the space is known from the first trial on
            trial = study.ask()
            internals.choose_point_of_sequence(sampler, index)
            trial.suggest_float("x", 0, 1)
            study.tell(trial, 0.0)
        return study.trials[1].params["x"]

    assert (point(1), point(2), point(3)) == (0.5, 0.25, 0.75)


def test_cma_es_reads_its_state_by_the_reader_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cmaes, "pickle", _cmaes.pickle)  # put back at the end
    read: list[bytes] = []

    def loads(state: bytes) -> Any:
        import pickle

        read.append(state)
        return pickle.loads(state)

    internals.read_state_of_cmaes_by(loads)
    study = optuna.create_study(sampler=CmaEsSampler(seed=1, n_startup_trials=1, warn_independent_sampling=False))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 0, 1), n_trials=16)
    assert read


def test_below_the_cache_is_the_storage_and_others_have_none(database: RDBStorage) -> None:
    cached = get_storage(database)
    assert cached is not database
    assert internals.without_cache(cached) is database
    memory = InMemoryStorage()
    assert internals.without_cache(memory) is memory


def test_a_journal_file_knows_its_path_and_locks_it(tmp_path: Path) -> None:
    journal = internals.JournalFile(str(tmp_path / "s.log"))
    assert journal.path == str(tmp_path / "s.log")
    with journal.locked():
        assert (tmp_path / "s.log.lock").is_symlink()
    assert not (tmp_path / "s.log.lock").is_symlink()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("_create_new_trial", ["study_id", "template_trial"]),
        ("_get_trials", ["study_id", "states", "included_trial_ids", "trial_id_greater_than"]),
        ("_get_prepared_new_trial", ["study_id", "template_trial", "session"]),
        ("_build_frozen_trial_from_trial_model", ["trial"]),
        ("_set_trial_value_without_commit", ["session", "trial", "objective", "value"]),
    ],
)
def test_a_step_of_the_storage_on_a_database_takes_what_ours_takes(name: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(RDBStorage, name)).parameters) == ["self", *parameters]


class Plain(internals.DatabaseStorage):
    """The steps as Optuna's own storage takes them."""

    def make_trial(self, study_id: int, template: Any = None) -> Any:
        self.made = template
        return RDBStorage._create_new_trial(self, study_id, template)

    def fetch_trials(self, study_id: int, states: Any, included: Any, after: int) -> Any:
        self.fetched = after
        return RDBStorage._get_trials(self, study_id, states, included, after)


def test_optuna_takes_our_steps_where_it_has_private_names_for_them(tmp_path: Path) -> None:
    storage = Plain(f"sqlite:///{tmp_path}/s.db")
    study = optuna.create_study(storage=storage)
    template = create_trial(state=TrialState.RUNNING, params={"x": 0.5}, distributions=X)
    key = internals.add_trial(study, template)
    assert storage.made is template
    with storage.session() as session:
        row = internals.TrialRow.find_or_raise_by_id(key, session, for_update=True)
        assert storage.trial_from_row(row).params == {"x": 0.5}
        storage.set_value(session, row, 0, 2.0)
        added = storage.add_row(session, internals.study_id_of(study), template)
        session.flush()
        copied = internals.with_identity(create_trial(value=1.0), added)
        assert (copied.number, internals.trial_id_of(copied)) == (1, added.trial_id)
    assert [trial.value for trial in study.get_trials()] == [2.0, None]
    assert storage.fetched == -1


def test_the_version_of_a_databases_tables_is_what_alembic_says(database: RDBStorage) -> None:
    manager = database._version_manager
    for name in ("get_current_version", "get_head_version"):
        method = getattr(type(manager), name)
        assert method(manager) == method.__wrapped__(manager)
    database.upgrade()
    with database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'v3.0.0.d'"))
    assert database.get_current_version() == "v3.0.0.d"
    with pytest.raises(RuntimeError, match="no longer compatible"):
        RDBStorage(str(database.engine.url))
    database.upgrade()
    assert database.get_current_version() == database.get_head_version()
    with database.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM alembic_version"))
    assert RDBStorage(str(database.engine.url)).get_current_version() == database.get_head_version()


def test_the_tables_are_those_of_a_database_with_the_columns_that_are_read(database: RDBStorage) -> None:
    inspector = sa.inspect(database.engine)
    assert set(internals.TABLE_NAMES) <= set(inspector.get_table_names())
    read = {
        "STUDIES": {"study_id", "study_name"},
        "STUDY_DIRECTIONS": {"study_id", "objective", "direction"},
        "STUDY_USER_ATTRS": {"study_id", "key", "value_json"},
        "STUDY_SYSTEM_ATTRS": {"study_id", "key", "value_json"},
        "TRIALS": {"trial_id", "study_id", "number", "state", "datetime_start", "datetime_complete"},
        "TRIAL_PARAMS": {"trial_id", "param_name", "param_value", "distribution_json"},
        "TRIAL_VALUES": {"trial_id", "objective", "value", "value_type"},
        "TRIAL_INTERMEDIATE_VALUES": {"trial_id", "step", "intermediate_value", "intermediate_value_type"},
        "TRIAL_USER_ATTRS": {"trial_id", "key", "value_json"},
        "TRIAL_SYSTEM_ATTRS": {"trial_id", "key", "value_json"},
        "TRIAL_HEARTBEATS": {"trial_id", "heartbeat"},
    }
    for name, columns in read.items():
        table = getattr(internals, name)
        assert columns <= set(table.c.keys())
        assert columns <= {column["name"] for column in inspector.get_columns(table.name)}


def test_the_classes_of_rows_are_those_of_the_tables_and_a_nameless_study_has_the_prefix(database: RDBStorage) -> None:
    assert internals.StudyRow.__table__ is internals.STUDIES
    assert internals.StudyDirectionRow.__table__ is internals.STUDY_DIRECTIONS
    assert internals.StudySystemAttributeRow.__table__ is internals.STUDY_SYSTEM_ATTRS
    assert internals.TrialRow.__table__ is internals.TRIALS
    assert internals.TrialSystemAttributeRow.__table__ is internals.TRIAL_SYSTEM_ATTRS
    assert optuna.create_study(storage=database).study_name.startswith(internals.NAME_PREFIX)


def test_a_value_is_read_from_the_two_columns_that_hold_it() -> None:
    kinds: Any = internals.value_from_columns.__self__.TrialValueType  # type: ignore[attr-defined]
    assert internals.value_from_columns(0.5, kinds.FINITE) == 0.5
    assert internals.value_from_columns(None, kinds.INF_NEG) == float("-inf")
    kinds = internals.reported_from_columns.__self__.TrialIntermediateValueType  # type: ignore[attr-defined]
    assert internals.reported_from_columns(0.5, kinds.FINITE) == 0.5
    assert internals.reported_from_columns(None, kinds.INF_POS) == float("inf")


def private_names(file: Path) -> list[str]:
    """Names that begin with an underscore and are another module's or another object's."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("optuna", "hydra")):
            named = [*str(node.module).split("."), *(alias.name for alias in node.names)]
            found += [f"from {node.module} import ..."] if any(name.startswith("_") for name in named) else []
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            found += [] if own else [ast.unparse(node)]
    return [name for name in found if not name.startswith(OTHERS) and not name.endswith("._target_")]


def test_private_names_of_optuna_and_hydra_are_used_in_the_files_that_are_for_them_alone() -> None:
    files = {file for house in HOUSES for file in (ROOT / house).rglob("*.py")} - OF_PEERS
    strange = {
        str(file.relative_to(ROOT)): names
        for file in sorted(files)
        if file.name not in {"optuna_internals.py", *OF_HYDRA} and (names := private_names(file))
    }
    assert strange == {}
