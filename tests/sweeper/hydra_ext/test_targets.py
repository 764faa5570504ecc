"""Code of the user's own: a config may name it once the user has allowed it, before the program starts."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import types
from importlib.util import find_spec
from pathlib import Path

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.pruners import MedianPruner
from optuna.samplers import RandomSampler

from mdaf.errors import UserError
from mdaf.naming import allowed
from mdaf.sweeper.hydra_ext import instantiation
from mdaf.sweeper.hydra_ext.instantiation import created
from mdaf.sweeper.storage.opening import open_storage
from tests.processes import ROOT
from tests.sweeper import inside

HERE = "tests.sweeper.hydra_ext.test_targets"


class Mine(RandomSampler):
    """A sampler of a user. Its arguments are fewer than those of the preset on which its node is laid."""

    def __init__(self, seed: int | None = None, width: float = 1.0) -> None:
        super().__init__(seed)
        self.width = width


class Patient(MedianPruner):
    pass


def hub() -> RandomSampler:
    """A function that gives a sampler, as one that loads a package of OptunaHub does."""
    return Mine(width=2.0)


def bare(seed: int | None = None) -> dict[str, int | None]:
    return {"seed": seed}


Reexported = optuna.load_study  # a name within an allowed package for something else


@pytest.fixture
def allow(monkeypatch: pytest.MonkeyPatch) -> functools.partial[None]:
    return functools.partial(monkeypatch.setattr, allowed, "STARTED_WITH")


@pytest.mark.parametrize("entries", [f"{HERE}.Mine", f"optuna.x, {HERE}.*", "tests.*"])
def test_a_class_that_the_user_allows_by_name_or_package_is_created(
    entries: str, allow: functools.partial[None]
) -> None:
    node = OmegaConf.create({"_target_": f"{HERE}.Mine", "width": 3.0})
    with pytest.raises(UserError, match="is not on the list"):
        created("sampler", node)
    allow(entries)
    assert created("sampler", node).width == 3.0


def test_a_function_may_give_the_sampler_and_a_pruner_is_allowed_likewise(allow: functools.partial[None]) -> None:
    allow(f"{HERE}.hub,{HERE}.Patient")
    assert created("sampler", {"_target_": f"{HERE}.hub"}).width == 2.0
    assert isinstance(created("pruner", {"_target_": f"{HERE}.Patient", "n_startup_trials": 2}), Patient)


def test_arguments_of_the_preset_are_left_out_where_the_users_class_has_none(
    allow: functools.partial[None], caplog: pytest.LogCaptureFixture
) -> None:
    allow(f"{HERE}.Mine")
    node = OmegaConf.create({"_target_": f"{HERE}.Mine", "seed": 3, "n_startup_trials": 10, "multivariate": False})
    with caplog.at_level("INFO"):
        assert created("sampler", node).width == 1.0
    assert "has no n_startup_trials, multivariate" in caplog.text
    node.wide = 2
    with pytest.raises(UserError, match=r"hydra/sweeper/sampler: .*unexpected keyword argument 'wide'"):
        created("sampler", node)


@pytest.mark.parametrize(
    ("target", "entries", "said"),
    [
        ("os.system", f"{HERE}.*", rf"os\.system is not on the list .* type export MDAF_ALLOW='?{HERE}\.\*,os\.system"),
        (f"{HERE}s.Mine", f"{HERE}.*", "is not on the list"),
        (f"{HERE}.Reexported", f"{HERE}.*", r"optuna\.study\S*\.load_study is not on the list"),
        (f"{HERE}.bare", f"{HERE}.bare", r"bare makes a dict, expected a class of samplers: a subclass of Optuna's"),
        (f"{HERE}.Patient", f"{HERE}.*", "makes a Patient, expected a class of samplers"),
        (f"{HERE}.Absent", f"{HERE}.Absent", r"hydra/sweeper/sampler: Error locating .*Absent'"),
        ("nowhere.Absent", "nowhere.*", r"hydra/sweeper/sampler: Error locating (.|\n)*No module named 'nowhere'"),
    ],
)
def test_anything_else_is_one_line_with_the_class_and_what_to_type(
    target: str, entries: str, said: str, allow: functools.partial[None]
) -> None:
    allow(entries)
    with pytest.raises(UserError, match=said) as told:
        created("sampler", {"_target_": target})
    assert str(told.value).startswith("hydra/sweeper/sampler: ")


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Hydra 1.4, that no list is given
@pytest.mark.parametrize(
    ("name", "defined"), [("Reexported", r"optuna\.study\S*\.load_study"), ("os.system", r"posix\.system")]
)
def test_without_hydras_own_list_a_name_that_stands_for_other_code_is_refused_as_well(
    name: str, defined: str, allow: functools.partial[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hydra 1.3 has none."""
    monkeypatch.setattr(instantiation.hydra_internals, "CHECKS_TARGETS", False)
    allow(f"{HERE}.*")
    with pytest.raises(UserError, match=rf"sampler: {defined} is not on the list"):
        created("sampler", {"_target_": f"{HERE}.{name}"})
    assert created("sampler", {"_target_": f"{HERE}.Mine", "width": 2.0}).width == 2.0


def test_what_a_sampler_holds_inside_must_be_allowed_too(allow: functools.partial[None]) -> None:
    node = {"_target_": "optuna.samplers.PartialFixedSampler", "fixed_params": {}, "base_sampler": {}}
    node["base_sampler"] = {"_target_": f"{HERE}.Mine"}
    with pytest.raises(UserError, match=rf"{HERE}\.Mine is not on the list"):
        created("sampler", node)
    allow(f"{HERE}.Mine")
    assert isinstance(created("sampler", node), optuna.samplers.PartialFixedSampler)


@pytest.mark.parametrize("entry", ["*", "mine", "mine.", ".*", "mine.*.Sampler", "mine/Sampler", "a b.c", "mine.x-y"])
def test_an_entry_that_is_no_name_is_one_line(entry: str, allow: functools.partial[None]) -> None:
    allow(f"mine.Mine,{entry}")
    with pytest.raises(UserError, match=r"MDAF_ALLOW: found .*, expected names of classes"):
        allowed.allowed()
    allow(" mine.Mine , mine.samplers.*,")
    assert allowed.allowed() == ("mine.Mine", "mine.samplers.*")


# ---- callbacks of this program's own jobs

LOGGER = f"+hydra.callbacks.mine._target_={HERE}.Logger"


class Writer(list[tuple[str, float, int]]):
    """TensorBoard's, which need not be installed here."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.append((name, value, step))

    def __enter__(self) -> Writer:
        written.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        pass


written: list[Writer] = []


def documented() -> type:
    """The logger of docs/how-to/own-samplers-and-callbacks.md."""
    page = (ROOT / "docs/how-to/own-samplers-and-callbacks.md").read_text()
    [text] = re.findall(r"```python\n([^`]*SummaryWriter[^`]*)```", page)
    names: dict[str, type] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer))
        exec(text, names)
    return names["TensorBoard"]


class Logger(documented()):  # type: ignore[misc]
    pass


def test_what_hydra_allows_in_no_config_is_one_whole_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    typed = ["+hydra.callbacks.mine._target_=subprocess.run", "+hydra.callbacks.mine.args=[touch,made]"]
    assert inside.run(tmp_path, *typed, "hydra.run.dir=run") == 2
    [line] = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert line == (
        "error: hydra.callbacks.mine: no config may name subprocess.run, whatever MDAF_ALLOW says: what it runs would "
        "be up to the config; expected a function or class of your own that calls it"
    )
    assert not (tmp_path / "made").exists()


def test_a_callback_of_the_user_is_refused_and_allowed_in_the_same_way(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], allow: functools.partial[None]
) -> None:
    assert inside.run(tmp_path, LOGGER, "hydra.run.dir=run") == 2
    [line] = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert line == (
        f"error: hydra.callbacks.mine: {HERE}.Logger is not on the list of what a config may name; if you trust that "
        f"code, type export MDAF_ALLOW={HERE}.Logger and then the same command"
    )
    allow(f"{HERE}.Logger")
    assert inside.run(tmp_path, LOGGER, "hydra.run.dir=run", "training.epochs=1") == 0
    [writer] = written
    assert writer.folder == tmp_path / "run"
    assert writer == [("val_auc", float(inside.metrics(writer.folder)[0]["val_auc"]), 1)]
    allow("*")
    assert inside.run(tmp_path, LOGGER, "hydra.run.dir=run2") == 2
    assert "MDAF_ALLOW: found *" in capfd.readouterr().err


# ---- a program of somebody else

PROGRAM = """
import os
if os.path.exists(".env"):  # as python-dotenv reads it
    os.environ.update(line.split("=", 1) for line in open(".env").read().split())
import hydra

@hydra.main(config_path=None, version_base=None)
def main(cfg):
    from mdaf.naming.allowed import allowed
    open("jobs.txt", "a").write(f"{allowed()}\\n")
    return float(cfg.x) ** 2

if __name__ == "__main__":
    main()
"""
CODE = """
from optuna.samplers import RandomSampler

open("imported.txt", "a").write("once\\n")

class Mine(RandomSampler):
    pass
"""
SWEEP = ("-m", "hydra/sweeper=study", "hydra.sweeper.n_trials=2", "+x=interval(0,1)")
TARGET = "hydra.sweeper.sampler={_target_: mine.Mine}"


def program(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "app.py").write_text(PROGRAM)
    (folder / "mine.py").write_text(CODE)
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    variables = {**inherited, **environment, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "app.py", *SWEEP, *arguments]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)


def test_workers_inherit_what_the_user_allowed(tmp_path: Path) -> None:
    stored = ("hydra.sweeper.storage=sqlite:///s.db", "hydra.sweeper.study_name=s", "hydra.sweeper.workers=2")
    ran = program(tmp_path, TARGET, *stored, MDAF_ALLOW="mine.Mine")
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "jobs.txt").read_text() == "('mine.Mine',)\n" * 2
    study = optuna.load_study(study_name="s", storage=open_storage(f"sqlite:///{tmp_path}/s.db", create=False))
    assert len(study.trials) == 2


def test_nothing_but_the_environment_of_the_start_widens_the_list(tmp_path: Path) -> None:
    """Neither a config, nor the variables of ``hydra.job.env_set``, nor a file of variables, nor a study."""
    (tmp_path / ".env").write_text("MDAF_ALLOW=mine.Mine\n")
    study = optuna.create_study(study_name="s", storage=open_storage(f"sqlite:///{tmp_path}/s.db", create=True))
    study.set_user_attr("MDAF_ALLOW", "mine.Mine")
    study.set_user_attr("typed_with", {"program": "MDAF_ALLOW=mine.Mine python app.py"})
    typed = ["+MDAF_ALLOW=mine.Mine", "+hydra.job.env_set.MDAF_ALLOW=mine.Mine", "+execution_whitelist=[mine.Mine]"]
    typed += ["hydra.sweeper.storage=sqlite:///s.db", "hydra.sweeper.study_name=s"]
    ran = program(tmp_path, TARGET, *typed)
    assert ran.returncode == 2
    assert "mine.Mine is not on the list of what a config may name" in ran.stderr
    assert not (tmp_path / "imported.txt").exists()
    ran = program(tmp_path, *typed)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "jobs.txt").read_text() == "()\n" * 2


REGISTRY_PACKAGE = """
from optuna.samplers import RandomSampler

class OfTheHub(RandomSampler):
    pass
"""
WRAPPER = """
import optunahub

def of_the_hub(**arguments):
    return optunahub.load_local_module("samplers/mine", registry_root="registry").OfTheHub(**arguments)
"""


@pytest.mark.skipif(find_spec("optunahub") is None, reason="optunahub is not installed")
def test_a_sampler_of_optunahub_is_a_function_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "registry/samplers/mine").mkdir(parents=True)
    (tmp_path / "registry/samplers/mine/__init__.py").write_text(REGISTRY_PACKAGE)
    (tmp_path / "hub.py").write_text(WRAPPER)
    (tmp_path / "hydra/sweeper/sampler").mkdir(parents=True)
    (tmp_path / "hydra/sweeper/sampler/hub.yaml").write_text("_target_: hub.of_the_hub\nseed: 3\n")
    ran = program(tmp_path, "--config-dir=.", "hydra/sweeper/sampler=hub", MDAF_ALLOW="hub.of_the_hub")
    assert ran.returncode == 0, ran.stderr
    assert "best: trial" in ran.stderr + ran.stdout
