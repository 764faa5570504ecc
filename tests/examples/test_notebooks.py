"""Every cell of the notebooks runs as it stands, and what they show can be shown."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from mdaf.api import command
from tests.mdaf.api.forked import ForkedChild

NOTEBOOKS = Path(__file__).parents[2] / "examples/notebooks"


def run(name: str) -> dict[str, Any]:
    """The variables of a notebook whose cells were run one after the other; what a cell shows is made, too."""
    variables: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(read(name)["cells"]):
        if cell["cell_type"] != "code":
            continue
        body = ast.parse("".join(cell["source"])).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), f"{name}, cell {number}", "exec"), variables)
        if isinstance(last, ast.Expr):
            shown = eval(compile(ast.Expression(last.value), f"{name}, cell {number}", "eval"), variables)
            assert shown is None or shown._repr_html_().lstrip().startswith("<")
    return variables


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((NOTEBOOKS / name).read_text())
    return found


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "Child", ForkedChild)
    return tmp_path


@pytest.mark.usefixtures("here")
def test_the_first_notebook_trains_and_predicts(capsys: pytest.CaptureFixture[str]) -> None:
    found = run("train_and_predict.ipynb")
    assert found["scored"]["score"].between(0, 1).all()
    assert "training.epoch: there is no such key; did you mean training.epochs=3?" in capsys.readouterr().out


@pytest.mark.slow
def test_the_second_notebook_comes_to_a_verdict(here: Path) -> None:
    found = run("sweep_to_verdict.ipynb")
    assert list(found["points"]["runs"]) == [1, 1, 1, 1]
    assert found["report"].verdict.startswith("winner ")
    assert found["report"].path.is_file()
    assert found["report"].path.is_relative_to(here) or not found["report"].path.is_absolute()


def test_no_notebook_holds_outputs() -> None:
    names = [file.name for file in NOTEBOOKS.glob("*.ipynb")]
    assert len(names) == 2
    cells = [cell for name in names for cell in read(name)["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)
