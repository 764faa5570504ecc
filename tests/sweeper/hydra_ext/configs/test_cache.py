"""Jobs' configs are those that Hydra composes, for less, and each job has one of its own."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from mdaf import conf
from mdaf.sweeper.hydra_ext.configs.cache import ComposedAlike, ComposedOnce
from mdaf.sweeper.training.replicas import REPLICA_KEYS

MASTER = OmegaConf.create({})


class Counting:
    """A config loader that counts what it composes."""

    def __init__(self) -> None:
        self.composed = 0

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        self.composed += 1
        return OmegaConf.from_dotlist(sweep_overrides)

    def get_sources(self) -> list[str]:
        return ["somewhere"]


def test_a_job_that_was_checked_is_not_composed_again_when_it_is_launched() -> None:
    counting: Any = Counting()
    loader = ComposedOnce(counting)
    checked = [loader.load_sweep_config(MASTER, [f"seed={seed}"]) for seed in (1, 2)]
    assert loader.take(MASTER, ["seed=2"]) is checked[1]
    assert loader.take(MASTER, ["seed=1"]) is checked[0]
    assert counting.composed == 2
    assert loader.take(MASTER, ["seed=3"]) == {"seed": 3}


def test_two_jobs_of_the_same_overrides_have_configs_of_their_own() -> None:
    loader: Any = ComposedOnce(Counting())  # type: ignore[arg-type]
    for _ in range(2):
        loader.load_sweep_config(MASTER, ["seed=1"])
    first, second, third = (loader.take(MASTER, ["seed=1"]) for _ in range(3))
    first.seed = 5
    assert (second.seed, third.seed) == (1, 1)


def test_whatever_else_is_asked_of_it_is_answered_by_the_loader() -> None:
    loader: Any = ComposedOnce(Counting())  # type: ignore[arg-type]
    assert loader.get_sources() == ["somewhere"]


# ---- from an earlier job's config


class Watched:
    """Hydra's loader, and how many jobs it has composed."""

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self.loader, self.master, self.composed = loader, master, 0

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        self.composed += 1
        return self.loader.load_sweep_config(master_config, sweep_overrides)


@pytest.fixture
def hydra() -> Iterator[Watched]:
    conf.register()
    with initialize_config_module("mdaf.conf"):
        typed = ["hydra/sweeper=basic", "hydra.sweep.subdir='job-${hydra.job.num}'", "device=cpu"]
        master = compose("config", typed, return_hydra_config=True)
        yield Watched(GlobalHydra.instance().config_loader(), master)


def assert_same(ours: DictConfig, theirs: DictConfig) -> None:
    """All values with their types, what is interpolated and what that comes to, and Hydra's own node."""
    assert repr(OmegaConf.to_container(ours)) == repr(OmegaConf.to_container(theirs))
    keys = [str(key) for key in theirs if key != "hydra"]
    resolved = [OmegaConf.to_container(OmegaConf.masked_copy(c, keys), resolve=True) for c in (ours, theirs)]
    assert repr(resolved[0]) == repr(resolved[1])
    assert OmegaConf.get_type(ours) is OmegaConf.get_type(theirs)
    assert OmegaConf.is_struct(ours) is OmegaConf.is_struct(theirs)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        *(
            pytest.param(f"{key}=1", f"{key}=0", marks=[] if key == "seed" else pytest.mark.slow)
            for key in REPLICA_KEYS.values()
            if key != "regularization.reinit_embeddings"
        ),
        ("regularization.reinit_embeddings=true", "regularization.reinit_embeddings=false"),
        ("training.schedule=cosine", "training.schedule=constant"),
        ("device.precision=bf16", "device.precision='fp32'"),
        ("training.learning_rate=1e-3", "training.learning_rate=${regularization.weight_decay}"),
    ],
)
def test_a_job_that_differs_in_a_value_has_the_config_that_hydra_composes(
    hydra: Watched, first: str, second: str
) -> None:
    ours: Any = ComposedAlike(hydra)  # type: ignore[arg-type]
    fixed = ["model=bst", "regularization=strong", "hydra.job.name=x", "sweep.study=s"]
    for changed in (first, second, first):
        overrides = [*fixed[:2], changed, *fixed[2:]]
        theirs = hydra.loader.load_sweep_config(hydra.master, overrides)
        assert_same(ours.load_sweep_config(hydra.master, overrides), theirs)
    assert hydra.composed == 1


def test_jobs_that_differ_in_several_values_and_in_groups_have_the_configs_that_hydra_composes(hydra: Watched) -> None:
    ours: Any = ComposedAlike(hydra)  # type: ignore[arg-type]
    for model in ("bst", "din"):
        for seed in (1, 2, 3):
            overrides = [
                f"model={model}",
                f"seed={seed}",
                f"regularization.dropout=0.{seed}",
                f"hydra.sweep.dir=r{seed}",
            ]
            theirs = hydra.loader.load_sweep_config(hydra.master, overrides)
            assert_same(ours.load_sweep_config(hydra.master, overrides), theirs)
    assert hydra.composed == 6  # a folder of Hydra's own is no value of the config


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["seed=1", "regularization=weak"], ["seed=1", "regularization=strong"]),
        pytest.param(["model.head=[8]"], ["model.head=[16]"], marks=pytest.mark.slow),
        (["model=din", "model.head[0]=16", "model.head=[8]"], ["model=din", "model.head[0]=32", "model.head=[8]"]),
        (["regularization.dropout=0.1", "regularization={dropout: 0.2}"], None),
        (["regularization.dropout=0.1", "regularization.dropout=0.2"], None),
        pytest.param(["+sweep.note=1"], ["+sweep.note=2"], marks=pytest.mark.slow),
        pytest.param(["training.patience=null"], ["training.patience=2"], marks=pytest.mark.slow),
    ],
)
def test_what_is_more_than_a_value_is_composed_by_hydra(
    hydra: Watched, first: list[str], second: list[str] | None
) -> None:
    ours: Any = ComposedAlike(hydra)  # type: ignore[arg-type]
    for overrides in (first, second or first):
        theirs = ours_or_error(hydra.loader, hydra.master, overrides)
        found = ours_or_error(ours, hydra.master, overrides)
        if isinstance(theirs, str):
            assert found == theirs
        else:
            assert isinstance(found, DictConfig)
            assert_same(found, theirs)
    assert hydra.composed == 2


def ours_or_error(loader: Any, master: DictConfig, overrides: list[str]) -> DictConfig | str:
    try:
        return loader.load_sweep_config(master, overrides)
    except HydraException as error:
        return str(error)


def test_a_value_that_the_config_does_not_take_is_refused_in_hydras_words(hydra: Watched) -> None:
    ours: Any = ComposedAlike(hydra)  # type: ignore[arg-type]
    ours.load_sweep_config(hydra.master, ["seed=1"])
    with pytest.raises(HydraException) as theirs:
        hydra.loader.load_sweep_config(hydra.master, ["seed=many"])
    with pytest.raises(HydraException) as found:
        ours.load_sweep_config(hydra.master, ["seed=many"])
    assert str(found.value) == str(theirs.value)
    assert ours.load_sweep_config(hydra.master, ["seed=2"]).seed == 2


def test_what_a_job_does_to_its_config_reaches_no_other(hydra: Watched) -> None:
    ours: Any = ComposedAlike(hydra)  # type: ignore[arg-type]
    for seed in (1, 2, 3):
        config = ours.load_sweep_config(hydra.master, [f"seed={seed}"])
        assert (config.regularization.dropout, config.hydra.overrides.task) == (0.25, [f"seed={seed}"])
        config.regularization.dropout = 0.9
        config.hydra.overrides.task.append("x=1")


def test_threads_compose_one_after_the_other(hydra: Watched) -> None:
    inside: list[int] = []

    class Slow(Counting):
        def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
            self.composed += 1
            time.sleep(0.05)
            inside.append(self.composed)
            self.composed -= 1
            return hydra.loader.load_sweep_config(master_config, sweep_overrides)

    ours: Any = ComposedAlike(Slow())  # type: ignore[arg-type]
    with ThreadPoolExecutor(4) as pool:
        kinds = [[f"+sweep.note={number}"] for number in range(4)]  # each composed anew
        configs = list(pool.map(lambda overrides: ours.load_sweep_config(hydra.master, overrides), kinds))
    assert [config.sweep.note for config in configs] == [0, 1, 2, 3]
    assert inside == [1, 1, 1, 1]


def test_a_loader_that_is_sent_to_another_process_takes_no_configs_along(hydra: Watched) -> None:
    ours: Any = ComposedAlike(Counting())  # type: ignore[arg-type]
    assert ComposedAlike.over(ours) is ours
    assert pickle.loads(pickle.dumps(ours)).get_sources() == ["somewhere"]
