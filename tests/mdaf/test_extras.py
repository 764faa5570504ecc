"""Advice to install something can be typed as it stands."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from packaging.requirements import Requirement

from mdaf import extras
from mdaf.data import __main__ as data_program
from mdaf.errors import UserError
from mdaf.extras import imported, install, require
from mdaf.multirun import __main__ as multirun_program
from mdaf.sweeper import __main__ as sweeper_program
from mdaf.sweeper.search import plugin
from mdaf.sweeper.study.commands.output import parquet_bytes
from tests.processes import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {
    name: lines for name, lines in PROJECT["optional-dependencies"].items() if name not in ("dev", "cluster", "ctr")
}


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_line_names_what_the_extra_requires_and_the_python_that_runs(extra: str) -> None:
    words = shlex.split(install(extra))
    assert words[:4] == [sys.executable, "-m", "pip", "install"]
    assert [Requirement(word) for word in words[4:]] == [Requirement(line) for line in EXTRAS[extra]]


def test_an_extra_that_is_made_of_others_names_what_they_require() -> None:
    words = shlex.split(install("cluster"))[4:]
    assert {re.split(r"[\[=<>]", word)[0] for word in words} == {
        "hydra-joblib-launcher",
        "hydra-submitit-launcher",
        "hydra-ray-launcher",
        "psycopg",
    }


def test_what_several_extras_require_is_named_once() -> None:
    words = shlex.split(install("ctr"))[4:]
    assert "scipy>=1.15" in words
    assert len(set(words)) == len(words)


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """As on a machine where these are not installed."""
    for module in (extras, plugin):
        monkeypatch.setattr(module, "find_spec", lambda name: None if name in modules else object())


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (sweeper_program.main, ["seed=1"]),
        (multirun_program.main, ["study=any"]),
        (lambda: sys.exit(data_program.main()), ["inspect", "data=synthetic_tiny"]),
    ],
    ids=["mdaf", "mdaf-phase4", "mdaf-data"],
)
def test_a_command_that_the_light_installation_lacks_the_packages_of_names_the_extra_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    main: Callable[[], object],
    arguments: list[str],
) -> None:
    without(monkeypatch, "torch", "polars", "sklearn")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert re.fullmatch(
        r"error: .+ needs the extra \[ctr\], of which torch, polars, scikit-learn are not installed: "
        r".+ -m pip install .*torch.*\n",
        said,
    )
    assert list(tmp_path.iterdir()) == []


def test_a_verdict_without_a_program_asks_for_it_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without(monkeypatch, "torch")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mdaf-phase4", "study=any"])
    with pytest.raises(SystemExit):
        multirun_program.main()
    assert capsys.readouterr().err.startswith('error: mdaf-phase4: program="python app.py" is missing, ')


def test_an_extra_that_is_there_is_required_in_silence() -> None:
    require("ctr", "a test")


def test_a_module_that_an_extra_brings_ends_in_one_line_where_it_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert imported("json", "parquet", "a test").__name__ == "json"
    without(monkeypatch, "polars")
    with pytest.raises(UserError, match=r"--format parquet needs polars, .*: .* -m pip install 'polars>="):
        parquet_bytes([], [])


@pytest.mark.parametrize(
    ("name", "node", "said"),
    [
        ("sampler", {"_target_": "optuna.samplers.QMCSampler"}, r"QMCSampler needs scipy.* pip install scipy"),
        (
            "sampler",
            {"_target_": "mdaf.sweeper.racing.sampler.RacingSampler"},
            r"RacingSampler needs scipy.* pip install 'scipy",
        ),
        ("sampler", {"_target_": "optuna.samplers.GPSampler"}, r"GPSampler needs torch and scipy.* 'torch<="),
        (
            "pruner",
            {
                "_target_": "optuna.pruners.PatientPruner",
                "wrapped_pruner": {"_target_": "optuna.pruners.WilcoxonPruner"},
                "patience": 1,
            },
            r"hydra/sweeper/pruner: WilcoxonPruner needs scipy",
        ),
    ],
)
def test_a_sampler_or_pruner_that_would_fail_at_its_first_trial_is_refused_before_the_sweep(
    monkeypatch: pytest.MonkeyPatch, name: str, node: dict[str, Any], said: str
) -> None:
    without(monkeypatch, "torch", "scipy")
    with pytest.raises(UserError, match=said):
        plugin._created(name, OmegaConf.create(node))


def test_what_is_no_extra_is_named_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert install("scipy").endswith("-m pip install scipy")

    def absent(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    assert install("scipy").endswith("-m pip install scipy")


def test_nothing_tells_to_install_this_package_from_an_index() -> None:
    files = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for room in ("mdaf", "sweeper", "data", "model", "multirun", "benchmarks"):
        files += (ROOT / room).rglob("*.py")
    assert [file.name for file in files if re.search(r"pip install '?mdaf-sweep", file.read_text())] == []
