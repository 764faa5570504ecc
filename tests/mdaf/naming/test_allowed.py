"""Code of the user's own for ``model`` and ``data``: looked at before it is imported, and only the classes allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdaf.data.preparing.source import source_from
from mdaf.errors import DataError, NotAllowedError, UserError
from mdaf.naming.allowed import class_named, permitted

CODE = """
from torch import nn
from elsewhere import Other
class Model(nn.Module): pass
class Nothing: pass
def build(): pass
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module of the user's own, which no other test has imported."""
    name = f"mine_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(CODE)
    (tmp_path / "elsewhere.py").write_text("class Other: pass\n")
    (tmp_path / f"{name}_broken.py").write_text("import nothing_like_it\n")
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_class_is_allowed_by_its_name_or_by_its_package_and_by_nothing_else(
    mine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotAllowedError, match=rf"type export MDAF_ALLOW={mine}.Model and then the same command"):
        permitted(f"{mine}.Model", "mdaf.model")
    for entries in (f"{mine}.Model", f"other.*,{mine}.*"):
        monkeypatch.setattr("mdaf.naming.allowed.STARTED_WITH", entries)
        assert class_named(f"{mine}.Model", "mdaf.model").__name__ == "Model"
    with pytest.raises(NotAllowedError, match=r"elsewhere\.Other is not on the list"):  # imported there, not defined
        class_named(f"{mine}.Other", "mdaf.model")
    monkeypatch.setattr("mdaf.naming.allowed.STARTED_WITH", f"{mine}.Other")
    assert class_named(f"{mine}.Other", "mdaf.model").__module__ == "elsewhere"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("{}.Modle", "has no Modle; did you mean Model?"),
        ("{}.build", "expected a class"),
        ("{}_absent.Model", "Python finds no module .*_absent; if it is your own, type export PYTHONPATH=FOLDER"),
        ("{}_broken.Model", "cannot be imported: ModuleNotFoundError: No module named 'nothing_like_it'"),
    ],
)
def test_what_cannot_be_had_is_one_line(mine: str, target: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdaf.naming.allowed.STARTED_WITH", target.format(mine))
    with pytest.raises(UserError, match=said):
        class_named(target.format(mine), "mdaf.model")


def test_a_source_of_ones_own_has_to_be_a_source(mine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=rf"^data\._target_: {mine}\.Nothing is not on the list"):
        source_from({"_target_": f"{mine}.Nothing"})
    monkeypatch.setattr("mdaf.naming.allowed.STARTED_WITH", f"{mine}.Nothing")
    with pytest.raises(DataError, match="is not a source of logs: expected a class with build and fingerprint"):
        source_from({"_target_": f"{mine}.Nothing"})
