"""The options of ``hydra/sweeper/sampler`` where upstream's package is not installed: its names, keys and defaults."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from mdaf.errors import UserError
from mdaf.sweeper.hydra_ext.instantiation import created
from mdaf.sweeper.search import presets

NAMES = ("tpe", "random", "grid", "cmaes", "nsgaii", "nsgaiii", "motpe", "gp", "qmc")


@pytest.fixture
def without_upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    Plugins.instance()  # finds all plugins, which store their options
    store = ConfigStore.instance()
    before = copy.deepcopy(store.repo)
    monkeypatch.setattr(presets, "find_spec", lambda name: None)
    presets.store()
    yield
    store.repo = before


def option(name: str) -> DictConfig:
    node: Any = ConfigStore.instance().load(f"hydra/sweeper/sampler/{name}.yaml").node
    assert isinstance(node, DictConfig)
    return node


@pytest.mark.usefixtures("without_upstream")
@pytest.mark.parametrize("name", NAMES)
def test_a_preset_has_the_keys_and_values_of_upstreams(name: str) -> None:
    upstream: Any = pytest.importorskip("hydra_plugins.hydra_optuna_sweeper.config")
    kinds = {kind.lower(): getattr(upstream, f"{kind}SamplerConfig") for kind in ("TPE", "Random", "Grid", "CmaEs")}
    kinds |= {kind.lower(): getattr(upstream, f"{kind}SamplerConfig") for kind in ("NSGAII", "NSGAIII", "MOTPE")}
    kinds |= {kind.lower(): getattr(upstream, f"{kind}SamplerConfig") for kind in ("GP", "QMC")}
    expected = OmegaConf.to_container(OmegaConf.structured(kinds[name]))
    found = OmegaConf.to_container(option(name))
    assert isinstance(expected, dict)
    assert isinstance(found, dict)
    assert {key: value for key, value in found.items() if key != "_target_"} == {
        key: value for key, value in expected.items() if key != "_target_"
    }


@pytest.mark.usefixtures("without_upstream")
@pytest.mark.parametrize("name", NAMES)
def test_every_preset_is_created_and_takes_other_arguments(name: str) -> None:
    node = option(name)
    if name == "motpe":
        with pytest.raises(UserError, match="'motpe' sampler was removed from Optuna; type hydra/sweeper/sampler=tpe"):
            created("sampler", node)
        return
    node.seed = 3
    if name == "nsgaiii":
        node.reference_points = [[0.0, 1.0], [1.0, 0.0]]
    assert created("sampler", node) is not None
    node.another = 1
    if name != "grid":  # which is created when its points are known
        with pytest.raises(UserError, match="another"):
            created("sampler", node)


def test_upstreams_own_options_stay_where_it_is_installed() -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    Plugins.instance()
    presets.store()
    assert OmegaConf.get_type(option("tpe")).__module__ == "hydra_plugins.hydra_optuna_sweeper.config"


def test_finding_the_plugins_imports_neither_optuna_nor_drivers_of_databases() -> None:
    code = (
        "import sys; from hydra.core.plugins import Plugins; Plugins.instance(); "
        "print(sorted({'mdaf.sweeper.search.presets', 'optuna', 'sqlalchemy', 'torch', 'numpy'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "['mdaf.sweeper.search.presets']\n"
