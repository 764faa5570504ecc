"""Advice to install something can be typed as it stands."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from importlib import metadata

import pytest

from mdaf.extras import install
from tests.processes import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {name: lines for name, lines in PROJECT["optional-dependencies"].items() if name not in ("dev", "cluster")}


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_line_names_what_the_extra_requires_and_the_python_that_runs(extra: str) -> None:
    words = shlex.split(install(extra))
    assert words[:4] == [sys.executable, "-m", "pip", "install"]
    assert [word.replace(" ", "") for word in words[4:]] == [line.replace(" ", "") for line in EXTRAS[extra]]


def test_an_extra_that_is_made_of_others_names_what_they_require() -> None:
    words = shlex.split(install("cluster"))[4:]
    assert {re.split(r"[\[=<>]", word)[0] for word in words} == {
        "hydra-joblib-launcher",
        "hydra-submitit-launcher",
        "hydra-ray-launcher",
        "psycopg",
    }


def test_what_is_no_extra_is_named_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert install("plotly").endswith("-m pip install plotly")

    def absent(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    assert install("plotly").endswith("-m pip install plotly")


def test_nothing_tells_to_install_this_package_from_an_index() -> None:
    files = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for room in ("mdaf", "sweeper", "data", "model", "multirun", "benchmarks"):
        files += (ROOT / room).rglob("*.py")
    assert [file.name for file in files if re.search(r"pip install '?mdaf-sweep", file.read_text())] == []
