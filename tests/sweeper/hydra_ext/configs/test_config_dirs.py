"""Configs of the user's own, by --config-dir or hydra.searchpath, in every command that composes a config."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdaf.data import __main__ as data
from mdaf.sweeper.check import __main__ as check
from mdaf.sweeper.hydra_ext.configs.sources import Configs


@pytest.mark.parametrize("words", [["--config-dir", "own"], ["-cd", "own"], ["hydra.searchpath=[file://own]"]], ids=str)
def test_own_configs_are_found_in_the_same_way_by_every_command(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for group, option in (("model", "din"), ("data", "synthetic_tiny")):
        (tmp_path / f"own/{group}").mkdir(parents=True)
        (tmp_path / f"own/{group}/mine.yaml").write_text(f"defaults: [{option}, _self_]\n")
    chosen = ["model=mine", "data=mine"]
    assert check.composed([*words, *chosen]).model._target_ == "mdaf.model.din.DIN"
    configs, rest = Configs.taken_from([*words, *chosen])  # as Phase 4 does for each run
    assert configs.compose(rest).data._target_ == "mdaf.data.synthetic.Synthetic"
    options = data._parser().parse_args(["prepare", *words, *chosen])
    assert data._compose(options.overrides, options.config_dir)._target_ == "mdaf.data.synthetic.Synthetic"
