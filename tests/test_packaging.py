"""What is installed: one import name that holds the whole tree, in two halves, of which one needs no torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.processes import ROOT, Running

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ROOMS = ("conf", "data", "model", "sweeper", "multirun")
LIGHT = ("search", "racing", "trials", "storage", "study", "hydra_ext")
HEAVY = ("torch", "numba", "polars", "sklearn", "scipy", "pandas")


SUFFIXES = ("py", "yaml", "j2", "css", "js", "html")


def files_of_the_tree() -> dict[str, Path]:
    """Every file that is installed, by its path below site-packages."""
    ground_floor = [file for suffix in SUFFIXES for file in (ROOT / "mdaf").rglob(f"*.{suffix}")]
    found = {f"mdaf/{file.relative_to(ROOT / 'mdaf')}": file for file in ground_floor}
    for room in ROOMS:
        for suffix in SUFFIXES:
            found |= {f"mdaf/{file.relative_to(ROOT)}": file for file in (ROOT / room).rglob(f"*.{suffix}")}
    return found | {str(file.relative_to(ROOT)): file for file in (ROOT / "hydra_plugins").rglob("*.py")}


def copied(folder: Path) -> Path:
    """The sources without what building leaves."""
    for name in ("mdaf", "hydra_plugins", *ROOMS):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


def ran(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    whole = {"PATH": "/usr/bin:/bin", "HOME": str(cwd), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([sys.executable, *map(str, command)], cwd=cwd, env=whole, capture_output=True, text=True)


def test_pyproject_lists_the_packages_of_the_tree() -> None:
    folders = {Path(name).parent for name in files_of_the_tree() if name.endswith(".py")}
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == {".".join(folder.parts) for folder in folders}


# A program of somebody else, with packages of its own by the names of ours.
PROGRAM = """
import hydra, mdaf
from data.scale import SCALE
from model.sphere import sphere
from src.data.name import NAME

@hydra.main(config_path="conf", config_name="config", version_base=None)
def main(cfg):
    assert (SCALE, NAME) == (2.0, "theirs")
    value = SCALE * sphere(cfg.x)
    mdaf.attach().report(1, value, last=True)
    return value

main()
"""
CONFIG = """
defaults: [_self_, {override hydra/sweeper: study}]
x: 0.5
hydra: {sweeper: {study_name: theirs, storage: "sqlite:///studies.db", n_trials: 2, params: {x: "interval(0, 1)"}}}
"""


def program_in(folder: Path) -> Path:
    for name, text in {
        "app.py": PROGRAM,
        "conf/config.yaml": CONFIG,
        "data/scale.py": "SCALE = 2.0",
        "model/sphere.py": "def sphere(x): return (x - 0.3) ** 2",
        "src/data/name.py": "NAME = 'theirs'",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "data/__init__.py").touch()  # model and src/data are packages without one
    return folder


def test_a_wheel_is_one_package_with_every_file_of_the_tree_and_leaves_other_programs_theirs(tmp_path: Path) -> None:
    build = "from setuptools import build_meta; build_meta.build_wheel('.')"
    source = copied(tmp_path / "source")
    made = ran("-c", build, cwd=source)
    assert made.returncode == 0, made.stderr
    with zipfile.ZipFile(next(source.glob("*.whl"))) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        wheel.extractall(tmp_path / "site")
    assert names == set(files_of_the_tree())
    # Hydra 1.3 finds plugins in its own namespace alone, which other distributions share: it gets no __init__.py.
    assert {name for name in names if not name.startswith("mdaf/")} == {"hydra_plugins/mdaf_sweeper/__init__.py"}

    folder = program_in(tmp_path / "program")
    swept = ran("app.py", "-m", cwd=folder, PYTHONPATH=str(tmp_path / "site"))
    assert swept.returncode == 0, swept.stderr
    assert "best: trial" in swept.stderr + swept.stdout


def test_the_half_for_any_program_imports_nothing_of_the_other() -> None:
    rooms = [ROOT / "sweeper" / room for room in LIGHT]
    modules = [f"mdaf.sweeper.{room.name}.{file.stem}" for room in rooms for file in room.glob("[a-z]*.py")]
    modules += ["mdaf.sweeper.runs.reader", "mdaf.sweeper.runs.metric_columns"]
    others = [*HEAVY, *(f"mdaf.{room}" for room in ROOMS if room != "sweeper")]
    asked = f"import sys, importlib\nfor name in {modules!r}: importlib.import_module(name)\n"
    found = ran("-c", f"{asked}print([name for name in {others!r} if name in sys.modules])", cwd=ROOT)
    assert found.stdout == "[]\n", found.stderr


@pytest.mark.parametrize(
    ("started", "arguments"),
    [
        ("sweeper", ["--cfg", "job"]),
        ("mdaf.sweeper", ["--cfg", "job"]),
        ("data", ["prepare", "data=synthetic_tiny", "data.root={folder}"]),
        ("multirun", ["storage=sqlite:///{folder}/none.db", "folder={folder}"]),
        ("sweeper.study", ["list", "--storage", "sqlite:///{folder}/none.db"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_program_that_is_started_from_a_clone_loads_no_file_under_two_names(
    tmp_path: Path, started: str, arguments: list[str]
) -> None:
    typed = [argument.format(folder=tmp_path) for argument in arguments]
    run = Running("tests.loaded_twice", str(tmp_path / "twice"), started, *typed, cwd=ROOT).wait()
    assert (tmp_path / "twice").read_text() == "", run.stderr


def links(source: Path) -> Path:
    """The folder that ``make .imports`` makes, of other sources."""
    shutil.copy(ROOT / "Makefile", source)
    subprocess.run(["make", "--silent", ".imports"], cwd=source, check=True)
    return source / ".imports"


def test_an_import_against_an_arrow_breaks_its_contract(tmp_path: Path) -> None:
    pytest.importorskip("importlinter")
    source = copied(tmp_path)
    with (source / "mdaf/naming/studies.py").open("a") as file:
        file.write("import mdaf.sweeper.study.queries\n")
    with (source / "sweeper/search/plugin.py").open("a") as file:
        file.write("def late():\n    import torch\n")
    with (source / "data/store/batches/columns.py").open("a") as file:
        file.write("import mdaf.data.preparing.layout\n")
    lint = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(config_filename=sys.argv[1]))"
    found = ran("-c", lint, "../pyproject.toml", cwd=links(source))
    assert found.returncode == 1, found.stdout + found.stderr
    said = " ".join(found.stdout.split())
    for contract in ("conf imports nothing else", "this program's own jobs", "and the schema"):
        assert f"{contract} BROKEN" in said
    assert "The rooms of multirun have floors KEPT" in said
