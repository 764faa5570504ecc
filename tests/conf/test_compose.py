"""Every YAML in conf/ composes, and says what it promises."""

from __future__ import annotations

import inspect
from pathlib import Path

import optuna
import pytest
from hydra import compose, initialize_config_module
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from mdaf import conf
from mdaf.naming import studies
from mdaf.sweeper.hydra_ext.instantiation import created
from mdaf.sweeper.hydra_ext.run_config import validate
from mdaf.sweeper.hydra_ext.targets import SAMPLERS
from mdaf.sweeper.search.points.known_points import known_points
from mdaf.sweeper.trials.points.space import wanted

FOLDER = Path(conf.__file__).parent
OPTIONS = sorted(
    (str(path.parent.relative_to(FOLDER)), path.stem)
    for path in FOLDER.rglob("*.yaml")
    if path.parent != FOLDER and not path.stem.startswith("_")  # what several options share
)
READ_A_FILE = (
    "user_behavior",
    "movielens",
    "taobao_ad",
    "taobao_ad_joined",
    "event_log",
    "movielens_1m",
    "movielens_10m",
    "movielens_20m",
    "recbole",
    "amazon_2018",
    "amazon_2023",
    "kuairand",
    "criteo",
    "avazu",
)


@pytest.fixture(autouse=True)
def registered() -> None:
    conf.register()
    studies.register()


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda value: value)
def test_every_option_of_every_group_composes_into_a_valid_job(group: str, option: str) -> None:
    overrides = ["hydra/sweeper=regularization"] if group.startswith("hydra/sweeper/") else []
    overrides += [f"{group}={option}"] + (["data.path=UserBehavior.csv"] if option in READ_A_FILE else [])
    with initialize_config_module("mdaf.conf"):
        cfg = compose("config", overrides=overrides)
    OmegaConf.resolve(cfg)
    validate(cfg)


SWEEPER_OPTIONS = [
    *(("sampler", name) for name in ("tpe", "racing", "random", "gp", "cmaes", "qmc", "nsgaii", "nsgaiii")),
    *(("pruner", name) for name in ("none", "median", "hyperband", "wilcoxon")),
]


@pytest.mark.parametrize(("part", "option"), SWEEPER_OPTIONS, ids=lambda value: value)
def test_every_sampler_and_pruner_that_can_be_chosen_can_be_made(part: str, option: str) -> None:
    overrides = ["hydra/sweeper=regularization", f"hydra/sweeper/{part}={option}"]
    with initialize_config_module("mdaf.conf"):
        cfg = compose("config", overrides=overrides, return_hydra_config=True)
    made = created(part, cfg.hydra.sweeper[part])
    assert isinstance(made, optuna.samplers.BaseSampler if part == "sampler" else optuna.pruners.BasePruner)
    if part == "sampler":
        assert cfg.hydra.sweeper.sampler.seed == cfg.seed


def test_no_sampler_that_a_config_may_name_stops_its_study_itself() -> None:
    """Optuna allows that within ``Study.optimize`` alone; of a grid this program plans the points itself."""
    named = [get_object(target) for target in SAMPLERS if target.endswith("Sampler")]
    samplers = [sampler for sampler in named if sampler is not optuna.samplers.GridSampler]
    assert len(samplers) > 5
    assert not [sampler.__name__ for sampler in samplers if ".stop()" in inspect.getsource(sampler.after_trial)]


def test_the_default_sampler_is_optunas_own_and_not_upstreams() -> None:
    with initialize_config_module("mdaf.conf"):
        cfg = compose("config", overrides=["hydra/sweeper=regularization"], return_hydra_config=True)
    chosen = created("sampler", cfg.hydra.sweeper.sampler)
    own = optuna.samplers.TPESampler(seed=cfg.seed)
    for name in ("_multivariate", "_constant_liar", "_group", "_n_startup_trials", "_n_ei_candidates"):
        assert getattr(chosen, name) == getattr(own, name)


def test_there_are_no_primary_configs_but_the_job_and_phase_4() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == ["config", "phase4"]
    with initialize_config_module("mdaf.conf"):
        assert compose("phase4").design == "sequential"


@pytest.mark.parametrize(
    ("name", "dropout", "weight_decay", "label_smoothing"),
    [("weak", 0.20, 1e-5, 0.0), ("balanced", 0.25, 3e-5, 0.05), ("strong", 0.30, 5e-5, 0.10)],
)
def test_the_three_settings_are_those_of_the_research_and_are_what_the_sweep_tries_first(
    name: str, dropout: float, weight_decay: float, label_smoothing: float
) -> None:
    point = {"dropout": dropout, "weight_decay": weight_decay, "label_smoothing": label_smoothing}
    with initialize_config_module("mdaf.conf"):
        cfg = compose(
            "config", overrides=[f"regularization={name}", "hydra/sweeper=regularization"], return_hydra_config=True
        )
    assert {key: cfg.regularization[key] for key in point} == point
    assert list(cfg.hydra.sweeper.enqueue) == ["weak", "balanced", "strong"]
    assert dict(cfg.hydra.sweeper.enqueue[name]) == {f"regularization.{key}": value for key, value in point.items()}


def test_the_wide_sweep_tries_the_same_points_first_and_has_the_settings_of_the_other() -> None:
    narrow, wide = (compose_sweeper(f"hydra/sweeper={name}") for name in ("regularization", "regularization_wide"))
    space = wanted(wide.params, []).space
    assert {key: (kind.low, kind.high, kind.log) for key, kind in space.items()} == {  # type: ignore[union-attr]
        "regularization.dropout": (0.0, 0.6, False),
        "regularization.weight_decay": (1e-6, 1e-3, True),
        "regularization.label_smoothing": (0.0, 0.1, False),
        "regularization.embedding_l2": (1e-7, 1e-2, True),
        "training.learning_rate": (3e-4, 5e-3, True),
    }
    planned = known_points(wide.enqueue, space, OmegaConf.create(), extended=False, tell=False)
    assert [name for name, _ in planned] == list(narrow.enqueue)
    assert all(
        point.keys() == space.keys() and dict(narrow.enqueue[name]).items() <= point.items() for name, point in planned
    )
    own = ("params", "enqueue", "study_name")
    assert {key: narrow[key] for key in narrow if key not in own} == {key: wide[key] for key in wide if key not in own}
    assert "regularization_wide-" in wide.study_name


def compose_sweeper(*overrides: str) -> DictConfig:
    with initialize_config_module("mdaf.conf"):
        return compose("config", overrides=list(overrides), return_hydra_config=True).hydra.sweeper


@pytest.mark.parametrize(
    ("experiment", "regularization", "epochs", "learning_rate"),
    [("phase1", "weak", 5, 1e-3), ("phase3", "strong", 15, 3e-4), ("phase3_revised", "balanced", 5, 3e-4)],
)
def test_each_phase_of_the_research_is_an_experiment(
    experiment: str, regularization: str, epochs: int, learning_rate: float
) -> None:
    with initialize_config_module("mdaf.conf"):
        cfg = compose("config", overrides=[f"experiment={experiment}"])
    found = (cfg.experiment, cfg.regularization.name, cfg.training.epochs, cfg.training.learning_rate)
    assert found == (experiment, regularization, epochs, learning_rate)
    assert (cfg.training.batch_size, cfg.training.grad_clip_norm, cfg.seed) == (2048, 1.0, 42)


def test_the_reference_names_every_group_and_option() -> None:
    page = (FOLDER.parent / "docs/reference/config.md").read_text()
    for group, option in OPTIONS:
        if not group.startswith("hydra/") or group in ("hydra/sweeper", "hydra/launcher"):
            section = page.partition(f"### Options of `{group}`\n")[2].partition("\n#")[0]
            assert f"| `{option}` |" in section
