"""What a program tells a user to type, that program accepts: the keys are those of its own config."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from mdaf import conf
from mdaf.multirun import __main__ as phase4
from mdaf.processes.signals import EXIT_RESUMABLE, Interrupted
from mdaf.sweeper.evaluate import KEYS
from mdaf.sweeper.runs.lock import locked
from tests.processes import ROOT
from tests.sweeper.inside import _typed

KEY = re.compile(r"(?<![\w./{'\"-])[~+]*([a-z][a-z_0-9]*(?:[./][a-z_0-9]+)*)=(?![=\s])")
#: Files of `multirun` that write the commands of its runs, whose keys are those of `sweeper`.
WRITE_COMMANDS = ("runs.py", "plan.py", "points.py", "launcher.py", "table.py", "confirmation.py")
#: Files of commands that take a few keys of their own, without a config.
OWN_KEYS = {"evaluate.py": KEYS}


@pytest.fixture(scope="module")
def configs() -> dict[str, list[DictConfig]]:
    """What each program's config may be."""
    conf.register()
    found: dict[str, list[DictConfig]] = {"run": [], "phase4": []}
    with initialize_config_module("mdaf.conf"):
        for data in ("synthetic", "event_log", "movielens", "taobao_ad", "taobao_ad_joined"):
            typed = [f"data={data}", "hydra/sweeper=regularization", "hydra/sweeper/pruner=median"]
            found["run"].append(compose("config", overrides=typed, return_hydra_config=True))
        race = ["hydra/sweeper=regularization", "hydra/sweeper/sampler=racing"]
        found["run"].append(compose("config", overrides=race, return_hydra_config=True))
        found["phase4"].append(compose("phase4", return_hydra_config=True))
    return found


def is_key(key: str, configs: list[DictConfig]) -> bool:
    """Whether a key, or a group, is one of any of the configs."""
    for config in configs:
        if "/" in key or "." not in key:
            groups = OmegaConf.to_container(config.hydra.runtime.choices)
            assert isinstance(groups, dict)
            if key in groups:
                return True
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(config, parent) if parent else config
        if isinstance(node, DictConfig) and name in node:
            return True
    return False


def messages(file: Path) -> Iterator[str]:
    """The string constants of a module, without its docstrings."""
    tree = ast.parse(file.read_text())
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, kinds) and node.body]
    docstrings = {id(body[0].value) for body in bodies if isinstance(body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


@pytest.mark.parametrize("room", ["sweeper", "data", "model", "multirun"])
def test_every_key_that_a_message_names_is_one_of_the_program_that_prints_it(
    room: str, configs: dict[str, list[DictConfig]]
) -> None:
    named, unknown = 0, []
    for file in sorted((ROOT / room).rglob("*.py")):
        program = "phase4" if room == "multirun" and file.name not in WRITE_COMMANDS else "run"
        for message in messages(file):
            for key in KEY.findall(message):
                if "." not in key and "/" not in key and key not in ("resume", "seed", "seeds", "force", "folder"):
                    continue  # a word of prose, an attribute of HTML
                named += 1
                if key in OWN_KEYS.get(file.name, ()):
                    continue
                if not is_key(key, configs[program] + (configs["phase4"] if file.name in WRITE_COMMANDS else [])):
                    unknown.append(f"{file.relative_to(ROOT)}: {key}")
    assert unknown == []
    assert named > 0


def locked_folder() -> Any:
    with locked(Path("a run")), locked(Path("a run")):
        pass


def raises(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize(
    ("happens", "code", "said"),
    [
        (lambda: raises(Interrupted("by SIGHUP")), EXIT_RESUMABLE, "the same command goes on"),
        (lambda: raises(MemoryError("out of memory")), 1, "the same command goes on"),
        (locked_folder, 2, "folder=..."),
    ],
    ids=["interrupted", "out of memory", "locked"],
)
def test_what_phase_4_says_names_no_key_of_its_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    configs: dict[str, list[DictConfig]],
    happens: Any,
    code: int,
    said: str,
) -> None:
    monkeypatch.setattr("mdaf.multirun.pipeline.decide", lambda cfg: happens())
    (tmp_path / "a run").mkdir()
    with _typed(tmp_path, ["mdaf-phase4", "--yes"]), pytest.raises(SystemExit) as end:
        phase4.main()
    line = capsys.readouterr().err
    assert end.value.code == code
    assert said in line
    assert all(is_key(key, configs["phase4"]) for key in KEY.findall(line)), line
