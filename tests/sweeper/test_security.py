"""Nobody gets in: what a config may name, and what a study that somebody else wrote may set."""

from __future__ import annotations

import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import optuna
import polars as pl
import pytest
from hydra.core import utils
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial
from rich.console import Console
from typer.testing import CliRunner

import mdaf.sweeper.search.reseeding  # noqa: F401 - the reader of CMA-ES's states
from mdaf.errors import UserError
from mdaf.messages import logs
from mdaf.naming.studies import complaint_about, folder_of
from mdaf.sweeper.hydra_ext.configs.sources import Configs, rerun_command
from mdaf.sweeper.hydra_ext.targets import CALLBACKS, PRUNERS, SAMPLERS
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.study import winners
from mdaf.sweeper.study.cli import app
from mdaf.sweeper.study.commands.output import csv_text, laid_out, parquet_bytes
from mdaf.sweeper.trials.admitted import memory_overrides, refusal, run_folder, sorted_out
from mdaf.sweeper.trials.retries import Retries
from mdaf.terminal.printable import in_markdown
from tests.sweeper.inside import run
from tests.sweeper.search.test_plugin import DROPOUT, Sweep, sweep

__all__ = ["sweep"]  # a fixture

ROOT = Path(__file__).parents[2]


# ---- code


@pytest.mark.parametrize(
    "typed",
    [
        ["+hydra.callbacks.x._target_=mdaf.multirun.phase4.plan.start", "+hydra.callbacks.x.command=[touch,FILE]"],
        [
            "hydra.callbacks.table._target_=mdaf.multirun.phase4.plan.start",
            "+hydra.callbacks.table.command=[touch,FILE]",
        ],
        ["model._target_=mdaf.model.stack.load_replica"],
        ["data._target_=mdaf.data.preparing.prepare.prepare_config"],
        ["-m", "hydra/sweeper=regularization", "hydra.sweeper.sampler._target_=optuna.load_study"],
        ["-m", "hydra/sweeper=regularization", "hydra.sweeper.pruner._target_=mdaf.multirun.phase4.plan.start"],
    ],
    ids=lambda typed: typed[-1],
)
def test_a_config_names_classes_of_a_list_and_no_function_of_a_package(
    tmp_path: Path, typed: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, *typed, "hydra.run.dir=run") == 2
    assert len([line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]) == 1
    assert not (tmp_path / "FILE").exists()


def test_every_class_that_the_configs_name_is_on_the_list_and_every_name_of_the_list_is_there() -> None:
    for name in (*SAMPLERS, *PRUNERS):
        instantiate({"_target_": name, "_partial_": True}, _execution_whitelist_=[name])
    named = {
        line.partition("_target_: ")[2].strip()
        for file in (ROOT / "conf").rglob("*.yaml")
        for line in file.read_text().splitlines()
        if "_target_: " in line
    }
    listed = {*CALLBACKS, *SAMPLERS, *PRUNERS}
    told = ("mdaf.model.", "mdaf.data.", "mdaf.multirun.", "hydra_plugins.")  # by what they are
    others = {name for name in named - listed if not name.startswith(told)}
    assert others == {"mdaf.sweeper.search.plugin.RegularizationSweeper"}  # a plugin, which Hydra finds among its own
    assert not [name for name in listed if name.endswith("*")]


class Intruder:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("intruder",)


def test_a_state_of_a_sampler_in_a_study_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = optuna.create_study(sampler=optuna.samplers.CmaEsSampler(seed=1))
    space = {name: FloatDistribution(0, 1) for name in "xy"}
    state = {"cma:optimizer:0": pickle.dumps(Intruder()).hex()}
    study.add_trial(
        create_trial(params=dict.fromkeys("xy", 0.5), distributions=dict(space), value=1, system_attrs=state)
    )
    with pytest.raises(UserError, match=r"names posix.mkdir, which is no part of one"):
        study.ask(dict(space))
    assert not (tmp_path / "intruder").exists()


@pytest.mark.parametrize("kind", [{}, {"use_separable_cma": True}, {"with_margin": True}], ids=str)
@pytest.mark.filterwarnings("ignore")
def test_a_sampler_still_reads_the_states_that_it_wrote(kind: dict[str, Any]) -> None:
    study = optuna.create_study(sampler=optuna.samplers.CmaEsSampler(seed=1, **kind))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 0, 1) ** 2, 24)
    kept = [trial for trial in study.trials if any("optimizer" in name for name in trial.system_attrs)]
    assert len(kept) >= 2


# ---- keys

MAY_BE_SAID = [
    "data=user_behavior",
    "model.fusion=concat",
    "+model.embedding.behaviour=4",
    "model.head=[16,8]",
    "regularization.dropout=0.2",
    "training.epochs=2",
    "device=cpu",
    "~model.without",
    "model.unknown='[UNK]'",
    "experiment=[phase1,phase3]",
    "seed=7",
]
MAY_NOT_BE_SAID = [
    "+hydra.callbacks.x._target_=mdaf.multirun.phase4.plan.start",
    "hydra.sweep.dir=/tmp/x",
    "hydra/launcher=submitit_slurm",
    "hydra.launcher.setup=[touch x]",
    "model._target_=os.system",
    "+model._partial_=true",
    "model={_target_: os.system}",
    "model.sequence={embedding: {_convert_: all}}",
    "model.head=[{_target_: os.system}]",
    "data@hydra.callbacks=user_behavior",
    "model.fusion=${oc.env:HOME}",
    "model.fusion='${newest:auto,run,x,[],RUN}'",
    "model.head=[1,'${oc.env:HOME}']",
    "model=../../../tmp/evil",
    "data=/tmp/evil",
    "sweep.storage=sqlite:////tmp/x.db",
    "sweep.artifacts=s3://evil/x",
    "resume=auto",
    "own=1",
    "model/x=y",
    "data[path]=/etc/passwd",
    "model.fusion=choice(gate,concat)",
    "--config-dir",
    "-m",
    "no override",
]


@pytest.mark.parametrize("override", MAY_BE_SAID)
def test_a_study_may_set_values_of_a_runs_own_keys(override: str) -> None:
    assert refusal(override) is None


@pytest.mark.parametrize("override", MAY_NOT_BE_SAID)
def test_a_study_may_set_nothing_else(override: str) -> None:
    assert refusal(override) is not None


def test_the_table_of_who_may_set_what_is_what_is_done() -> None:
    """docs/how-to/security.md: of each row the example in the second column, and yes or no in the third."""
    page = (ROOT / "docs/how-to/security.md").read_text()
    rows = [line.split("|")[1:-1] for line in page.splitlines() if "| `" in line]
    assert len(rows) >= 12
    for _, examples, answer, *_ in rows:
        for example in [part for part in examples.split("`") if part.strip() and part.strip() != ","]:
            taken, _ = sorted_out([example], "a-study-that-nobody-typed")
            assert bool(taken) == answer.strip().startswith("yes"), example


def foreign(overrides: Any, **params: Any) -> optuna.Study:
    study = optuna.create_study(study_name="s", direction="maximize")
    distributions: Any = {name: CategoricalDistribution((value,)) for name, value in params.items()}
    attributes = {"overrides": overrides}
    study.add_trial(create_trial(params=params, distributions=distributions, value=0.7, user_attrs=attributes))
    return study


def test_the_line_that_runs_a_trial_again_holds_nothing_that_a_study_may_not_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = foreign(
        ["data=user_behavior", "+hydra.callbacks.x._target_=os.system", "data.path=/etc/passwd"],
        **{"model.fusion": "${oc.env:HOME}", "hydra.sweep.dir": "/tmp", DROPOUT: 0.2},
    )
    [record] = winners.best_records(study, 1)
    assert record["command"] == "python -m sweeper data=user_behavior regularization.dropout=0.2"
    assert len(record["left_out"]) == 4


@pytest.mark.parametrize("overrides", ["x y", 7, {"a": 1}, [1, None], None])
def test_overrides_of_another_type_are_none(overrides: Any) -> None:
    [record] = winners.best_records(foreign(overrides, **{DROPOUT: 0.2}), 1)
    assert record["overrides"] == ["regularization.dropout=0.2"]


def test_a_path_counts_where_a_run_folder_here_says_that_it_was_typed_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = ["data.path=clicks.csv", "hydra.sweep.dir=/tmp"]
    assert sorted_out(said, "s")[0] == []
    folder = tmp_path / "runs/studies/s/3"
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra/overrides.yaml").write_text("- data.path=clicks.csv\n- hydra.sweep.dir=/tmp\n")
    assert sorted_out(said, "s")[0] == ["data.path=clicks.csv"]
    assert sorted_out(said, "t")[0] == []
    (folder / ".fetched").write_text("s3://elsewhere")
    assert sorted_out(said, "s")[0] == []


def test_a_trial_that_somebody_put_in_line_sets_no_key_that_is_not_searched(sweep: Sweep) -> None:
    sweep(n_trials=1)
    keys = {"hydra.sweep.dir": "/tmp/x", "+model._target_": "os.system", DROPOUT: 0.21}
    said = {"retry_overrides": ["hydra.sweep.dir=/tmp/y", "device.micro_batch=16"]}
    Retries(sweep.study).enqueue("mine", keys, said)
    launcher = sweep(n_trials=2)
    [job] = launcher.jobs
    assert job[DROPOUT] == "0.21"
    assert job["device.micro_batch"] == "16"
    assert not {"/tmp/x", "/tmp/y", "os.system"} & set(job.values())


def test_a_retry_sets_a_smaller_micro_batch_and_nothing_else() -> None:
    assert memory_overrides(["device.micro_batch=8", "hydra.x=1", "device.micro_batch=${x}", 3]) == [
        "device.micro_batch=8"
    ]
    assert memory_overrides("device.micro_batch=8") == []


# ---- places


@pytest.mark.parametrize("said", ["/etc", "../x", "a/../../x", "", 7, None, "a\nb", "runs/\x1b[31m"])
def test_a_run_folder_that_a_study_names_lies_below_this_directory(said: Any) -> None:
    assert run_folder(said) is None
    assert run_folder("a" * 5000) is run_folder("a/" * 5000) is None  # the system raises an error for so long a name
    assert run_folder("runs/studies/s/0") == Path("runs/studies/s/0")
    assert run_folder("/srv/runs/s/0", [Path("/srv/runs")]) == Path("/srv/runs/s/0")


STRANGE = [
    "../x",
    "..",
    ".",
    "",
    "a" * 300,
    "it's",
    "a,b",
    "#",
    "süß",
    "a\nb",
    "<b>",
    "50%",
    "a;b",
    "-rf",
    "a/b",
    "a b",
]


def test_every_name_of_a_study_has_a_folder_of_its_own_that_lies_in_its_place() -> None:
    folders = [folder_of(name) for name in STRANGE]
    assert len({folder.lower() for folder in folders}) == len(STRANGE)
    for folder in folders:
        assert Path(folder).name == folder
        assert folder not in ("", ".", "..")
        assert not folder.startswith("-")
        assert OverridesParser.create().parse_override(f"a=runs/{folder}/0").value() == f"runs/{folder}/0"
        assert len(folder) <= 100
        assert folder_of(folder) != folder  # no other study has this very name
    for ordinary in ("regularization-mdaf_mamba-synthetic", "base", "a.b", "2026-01-01"):
        assert folder_of(ordinary) == ordinary


def test_names_that_nobody_could_type_are_refused_for_new_studies() -> None:
    refused = [name for name in (*STRANGE, "${oc.env:HOME}") if complaint_about(name)]
    assert refused == ["", "a" * 300, "a\nb", "${oc.env:HOME}"]


def test_where_configs_come_from_is_shown_as_it_was_typed() -> None:
    configs, rest = Configs.taken_from(
        ["--config-dir", "my confs", "a=1", "-cn=own", "hydra.searchpath=[pkg://x]", "-m"]
    )
    assert rest == ["a=1", "-m"]
    said = {"program": "mdaf", "folder": "my confs", "name": "own", "search": "hydra.searchpath=[pkg://x]"}
    line = "mdaf --config-dir 'my confs' --config-name own 'hydra.searchpath=[pkg://x]' a=1"
    assert rerun_command(said, ["a=1"]) == line
    assert configs.words() == ["--config-dir", "my confs", "--config-name", "own", "hydra.searchpath=[pkg://x]"]


@pytest.mark.parametrize(
    "said",
    [
        {"program": "rm -rf ~", "folder": "--x", "search": "hydra.callbacks=[x]"},
        {"program": "python /tmp/evil.py", "name": ["a"], "search": "hydra.searchpath=[${oc.env:X}]"},
        {"program": "python '; touch x'", "folder": 7},
        {"program": "python -m a;b", "path": ["a"]},
        {"program": "python -m a b"},
        {"program": "python /etc/hostname"},
        {"program": "poweroff"},
        {"program": "python 'unclosed"},
        {"program": ""},
    ],
)
def test_a_program_that_a_study_names_is_not_put_into_a_line(said: Any) -> None:
    assert rerun_command(said, ["a=1"]) == "PROGRAM a=1"


# ---- passwords


def test_a_config_that_hydra_saves_never_held_the_password(tmp_path: Path) -> None:
    url = "postgresql://me:se cr:et@/@host/db?sslpassword=hidden"
    config = OmegaConf.create({"sweep": {"storage": url}, "list": [f"sweep.storage={url}"], "same": "${sweep.storage}"})
    utils._save_config(config, "config.yaml", tmp_path)
    OmegaConf.save(config, tmp_path / "multirun.yaml")
    for name in ("config.yaml", "multirun.yaml"):
        text = (tmp_path / name).read_text()
        assert "cr:et" not in text
        assert "hidden" not in text
        assert OmegaConf.load(tmp_path / name).same == "postgresql://me:***@host/db?sslpassword=***"
    assert config.sweep.storage == url


# ---- text

UNFIT = "\x1b]0;mine\x07\x1b[2J\x9b31m\u202egpj.exe [red]no[/] <script>x</script>"


def test_what_is_written_in_a_study_reaches_no_terminal_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    storage = open_storage(url := f"sqlite:///{tmp_path}/s.db", create=True)
    study = optuna.create_study(study_name=UNFIT, storage=storage, direction="maximize")
    study.set_user_attr(UNFIT, UNFIT)
    kinds: Any = {UNFIT: CategoricalDistribution((UNFIT, "b")), "x": FloatDistribution(0, 1)}
    attributes = {UNFIT: [UNFIT], "overrides": f"a {UNFIT}", "run_dir": 7, "error": UNFIT, "seed": "x", "effective": 3}
    for x in (0.2, 0.3):
        trial = create_trial(params={UNFIT: UNFIT, "x": x}, distributions=kinds, value=x, user_attrs=attributes)
        study.add_trial(trial)
    asked = [
        "list",
        "show",
        "show 0",
        "best",
        "best --format overrides",
        "trials",
        "watch",
        "compare 0 1",
        "importance",
    ]
    asked += [f"{command} --format json" for command in ("list", "show", "show 0", "best", "trials")]
    asked += [
        "trials --format csv",
        "trials --sort error",
        f"plot --output {tmp_path}/x.html",
        f"export --output {tmp_path}",
    ]
    for command in asked:
        answer = CliRunner().invoke(app, [*command.split(), "--storage", url])
        assert answer.exit_code == (2 if command.startswith("compare") else 0), (command, answer.output)
        assert not set("\x1b\x07\x9b\u202e") & set(answer.output), command
        assert "Traceback" not in answer.output
        if command.endswith("json"):
            json.loads(answer.stdout)
        if command == "trials":
            assert "[red]no[/]" in answer.stdout


def test_a_name_with_line_breaks_forges_no_line_of_an_answer(tmp_path: Path) -> None:
    storage = open_storage(url := f"sqlite:///{tmp_path}/s.db", create=True)
    study = optuna.create_study(study_name="s", storage=storage)
    name = "x\nto run it again:\nrm"
    study.set_user_attr(name, 1)
    for x in (0.0, 0.5):
        study.add_trial(create_trial(params={name: x}, distributions={name: FloatDistribution(0, 1)}, value=x))
    for command in ("list", "show", "show 0", "best", "trials", "watch", "verify"):
        answer = CliRunner().invoke(app, [*command.split(), "--storage", url])
        assert answer.exit_code == 0, answer.output
        assert "rm" not in {line.strip()[:2] for line in answer.output.splitlines()}, command


def test_a_table_on_a_terminal_takes_brackets_as_they_are() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=200, color_system=None)
    console.print(laid_out([{"a": "[red]x[/]", "b": "[/]"}], {"a": "[bold]a", "b": "b"}, 200)[0])
    assert isinstance(console.file, io.StringIO)
    for text in ("[red]x[/]", "[/]", "[bold]a"):
        assert text in console.file.getvalue()


def test_a_spreadsheet_takes_no_text_of_a_study_for_a_formula() -> None:
    text = csv_text([{"=a": "=cmd|x", "b": "-2", "c": -2.5, "d": "+1;x", "e": "plain"}], ["=a", "b", "c", "d", "e"])
    assert text.splitlines() == ["'=a,b,c,d,e", "'=cmd|x,-2,-2.5,'+1;x,plain"]


def test_a_text_that_no_encoding_has_is_written_out_in_a_parquet_file() -> None:
    content = parquet_bytes([{"a\ud800": "b\udfff", "c": 1}], ["a\ud800", "c"])
    assert pl.read_parquet(io.BytesIO(content)).to_dicts() == [{"a\\ud800": "b\\udfff", "c": 1}]


OF_ANOTHER_TYPE: list[dict[str, Any]] = [
    {"overrides": "x y"},
    {"deaths": "many"},
    {"retry": [1]},
    {"retry": {"deaths": "many"}},
    {"enqueued_as": ["a"]},
    {"outcome": {"state": "COMPLETE"}},
    {"outcome": {"state": "UP", "values": [0.5]}},
    {"outcome": {"state": "COMPLETE", "values": ["a"]}},
]


@pytest.mark.parametrize("said", OF_ANOTHER_TYPE, ids=str)
@pytest.mark.parametrize("command", ["reap", pytest.param("retry", marks=pytest.mark.slow)])
def test_a_study_whose_attributes_have_other_types_is_not_changed_by_a_query(
    tmp_path: Path, said: dict[str, Any], command: str
) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    study = optuna.create_study(study_name="base", storage=open_storage(url, create=True))
    gone = {"worker": "elsewhere:1:1", "lease_expires": 0.0}
    study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs={**gone, **said}))
    answer = CliRunner().invoke(app, [command, "--yes", "--storage", url])
    assert (answer.exit_code, answer.output.count("\n")) == (2, 1), answer.output
    assert "trial 0: its attribute" in answer.output
    assert [trial.state for trial in study.get_trials()] == [TrialState.RUNNING]


@pytest.mark.parametrize("said", OF_ANOTHER_TYPE, ids=str)
def test_a_study_whose_attributes_have_other_types_is_not_swept_on(sweep: Sweep, said: dict[str, Any]) -> None:
    study = optuna.create_study(study_name="base", storage=open_storage(sweep.url, create=True), direction="maximize")
    study.add_trial(create_trial(value=0.5, user_attrs=said))
    with pytest.raises(UserError, match=rf"study base, trial 0: its attribute {next(iter(said))} is .*, expected a"):
        sweep(n_trials=2, study_name="base")


def test_a_log_line_and_a_report_show_control_characters_written_out() -> None:
    record = logs.MaskedRecord("x", 20, "f", 1, "study %s", (UNFIT,), None)
    assert record.getMessage().startswith("study \\u001b]0;mine\\u0007")
    assert in_markdown("a <b> 1 < 2") == r"a \<b> 1 < 2"
