"""Jobs of a grid are composed once, and each has a config of its own."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from multirun.composing import ComposedOnce

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
