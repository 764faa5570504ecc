"""Every command line that the documentation shows is one that the programs take."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import optuna
import pytest
import typer
import yaml
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig

from mdaf import conf
from mdaf.conf import schema
from mdaf.data.__main__ import _compose, _parser
from mdaf.errors import UserError
from mdaf.multirun import commands
from mdaf.multirun.__main__ import COMMANDS
from mdaf.multirun.phase4.overrides import split
from mdaf.sweeper import command_line, evaluate
from mdaf.sweeper.check.__main__ import composed as checked
from mdaf.sweeper.completion import cli as completion
from mdaf.sweeper.doctor import cli as doctor
from mdaf.sweeper.export import cli as export
from mdaf.sweeper.predict import cli as predict
from mdaf.sweeper.run_folders import cli as run_folders
from mdaf.sweeper.study import cli as study
from mdaf.sweeper.trials.compatibility import agree
from mdaf.sweeper.trials.points.space import wanted
from mdaf.terminal import programs
from tests.processes import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCED = re.compile(r"^```\w*\n(.*?)^```", re.M | re.S)
INLINE = re.compile(r"(?<!`)`((?:python -m|mdaf)\b[^`]*)`(?!`)")
PROGRAM = (
    r"(?:python -m (sweeper(?:\.(?:study|predict|export|evaluate))?|multirun|data|benchmarks\.\w+)|(mdaf(?:-\w+)?))"
)
COMMAND = re.compile(PROGRAM + r"(?= |$)(.*)", re.S)
OWN = ",".join(f"file://{ROOT}/examples/{name}/conf" for name in ("own_log", "own_model"))
PLACEHOLDERS = {
    "--config-dir conf": f"hydra.searchpath=[{OWN}]",
    "data=NAME": "data=synthetic",
    "data=...": "data=synthetic",
    "model=NAME": "model=din",
    "show N": "show 0",
    "$(mdaf-study best --format overrides)": "regularization.dropout=0.2",
}
OF_WORDS = {
    script.removeprefix("mdaf-"): package for package, script in programs.SCRIPTS.items() if package != "sweeper"
}
SCRIPTS = {script: package for package, script in programs.SCRIPTS.items()}


def shown() -> Iterator[tuple[str, str]]:
    """File and command line: of code blocks and of inline code."""
    for file in PAGES:
        text = file.read_text()
        name = str(file.relative_to(ROOT))
        for block in FENCED.findall(text):
            for line in block.replace("\\\n", " ").splitlines():
                line = line.removeprefix("$ ")
                if wrapped := re.search(r'--wrap "(.*)"', line):
                    line = wrapped[1]
                if COMMAND.match(line):
                    yield name, line
        for line in INLINE.findall(FENCED.sub("", text)):
            if COMMAND.fullmatch(" ".join(line.split())):
                yield name, " ".join(line.split())


LINES = {line: file for file, line in sorted(set(shown()), reverse=True)}  # each once, with its first page


@pytest.mark.parametrize("line", LINES, ids=[f"{file}: {line}" for line, file in LINES.items()])
def test_a_command_line_of_the_documentation_is_taken(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    match = COMMAND.match(_filled(line))
    assert match is not None
    program = match[1] or SCRIPTS[match[2]]
    words = _words(match[3])
    if program == "sweeper" and words[:1] and words[0] in OF_WORDS:  # mdaf predict
        program = OF_WORDS[words.pop(0)]
    monkeypatch.setattr("sys.argv", [program])
    monkeypatch.setattr("mdaf.naming.allowed.STARTED_WITH", "mine.*")  # of examples/own_model
    monkeypatch.syspath_prepend(ROOT / "examples/own_model")
    conf.register()
    if program == "sweeper.study":
        _parsed(study.app, words)
    elif program == "multirun" and words[:1] and words[0] in COMMANDS:
        _parsed(commands.app, words)
    elif program == "multirun":
        words = split([word for word in words if word != "--yes"])
        command_line.check(words, schema.Phase4, sweeps=False, commands=COMMANDS)
        _composed("phase4", words)
    elif program == "sweeper" and words[:1] == ["runs"]:
        parser = run_folders._clean_parser if words[1:2] == [run_folders.CLEAN] else run_folders._list_parser
        parser().parse_args([word for word in words[1:] if word != run_folders.CLEAN])
    elif program == "sweeper" and words[:1] == ["doctor"]:
        doctor._parser().parse_args(words[1:])
    elif program == "sweeper" and words[:1] == ["completion"]:
        completion._parser().parse_args([word for word in words[1:2] if "|" not in word] or ["bash"])
    elif program == "sweeper" and words[:1] == ["check"]:
        checked(words[1:])
    elif program == "sweeper" and words != ["-m"]:  # the name of the flag, not a line to type
        command_line.check(words, schema.Config)
        _composed("config", words)
    elif program == "sweeper.export":
        export._parser().parse_args(words or ["RUN", "--out", "exported"])
    elif program == "sweeper.predict":
        predict._parser().parse_args(words or ["RUN", "FILE", "--out", "scores.csv"])
    elif program == "sweeper.evaluate":
        evaluate._parser().parse_intermixed_args(words or ["RUN"])
    elif program == "data":
        options = _parser().parse_args(re.split(r"\|", words[0])[:1] + words[1:] if words else ["prepare"])
        _compose(options.overrides)
    elif program.startswith("benchmarks."):
        assert _is_started(program)
    else:
        assert program == "sweeper"


def sweeps() -> dict[str, DictConfig]:
    """The Optuna sweeps of `make sweep` and of the documentation, in that order: command line -> config."""
    made = re.findall(r"python -m sweeper -m .*", (ROOT / "Makefile").read_text())
    lines = dict.fromkeys([*made, *(line for _, line in shown() if "hydra/sweeper=regularization" in line)])
    conf.register()
    return {line: _composed("config", _words(re.sub(PROGRAM, "", _filled(line), count=1))) for line in lines}


def test_no_sweep_that_is_shown_is_refused_because_of_another_one() -> None:
    studies: dict[tuple[str, str], optuna.Study] = {}
    for line, config in sweeps().items():
        sweeper = config.hydra.sweeper
        study = studies.setdefault((sweeper.storage, sweeper.study_name), optuna.create_study(direction="maximize"))
        space = wanted(sweeper.params, config.hydra.overrides.task).space
        try:
            new = agree(study, sweeper.objectives, sweeper.constraints or {}, space, config, force=False)
        except UserError as error:
            pytest.fail(f"{line}: {error}")
        for attribute, value in new.items():
            study.set_user_attr(attribute, value)
    named = set(
        re.findall(r"regularization-[\w-]+", "".join((ROOT / file).read_text() for file in ("README.md", "Makefile")))
    )
    assert named <= {name for _, name in studies}
    assert len(studies) > 3


def _filled(line: str) -> str:
    """The line with an example for each placeholder."""
    for placeholder, example in PLACEHOLDERS.items():
        line = line.replace(placeholder, example)
    return line


def _is_started(module: str) -> bool:
    """Whether ``python -m module`` runs something: a file that calls its main, or a package with such a __main__."""
    spec = importlib.util.find_spec(module)
    if spec is not None and spec.submodule_search_locations:
        spec = importlib.util.find_spec(f"{module}.__main__")
    return spec is not None and spec.origin is not None and '__name__ == "__main__"' in Path(spec.origin).read_text()


def _parsed(app: typer.Typer, words: list[str]) -> None:
    """Reads the words as the program does, and runs nothing."""
    group = typer.main.get_command(app)
    if words and not words[0].startswith("-"):
        command = group.commands[words[0]]  # type: ignore[attr-defined]
        if len(words) > 1:
            command.make_context(words[0], words[1:])


def _words(line: str) -> list[str]:
    return [word for word in shlex.split(line, comments=True) if word not in ("...", "|", "--help")]


def _composed(name: str, words: list[str]) -> DictConfig:
    return _composed_once(name, tuple(words))


@cache
def _composed_once(name: str, words: tuple[str, ...]) -> DictConfig:
    overrides = command_line._parser(words, schema.Config).parse_intermixed_args(words).overrides
    mode = RunMode.MULTIRUN if {"-m", "--multirun"} & set(words) else RunMode.RUN
    with initialize_config_module("mdaf.conf"):
        return GlobalHydra.instance().config_loader().load_configuration(name, overrides, run_mode=mode)


def _in_nav(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            yield from _in_nav(value) if isinstance(value, list) else [value]


def test_every_page_has_one_line_in_the_nav_of_the_site() -> None:
    """mkdocs.yml; the changelog and the page for contributors come from the root of the clone."""
    nav = sorted(_in_nav(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    pages = [str(page.relative_to(ROOT / "docs")) for page in PAGES if page.is_relative_to(ROOT / "docs")]
    assert nav == sorted([*pages, "changelog.md", "contributing.md"]), "name each page once under nav in mkdocs.yml"


def test_the_documentation_shows_every_program() -> None:
    named = {match[1] or SCRIPTS[match[2]] for line in LINES if (match := COMMAND.match(line))}
    assert set(SCRIPTS.values()) <= named
    assert len(LINES) > 40
