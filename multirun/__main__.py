"""``python -m multirun [overrides]``: repeats a study's winner over the seeds and prints what came of it."""

from __future__ import annotations

from pathlib import Path

import hydra
from omegaconf import DictConfig

import conf
from sweeper.errors import reported_in_one_line


@hydra.main(config_path="pkg://conf", config_name="phase4", execution_whitelist=())
def job(cfg: DictConfig) -> None:
    """The task that Hydra runs."""
    with reported_in_one_line():  # before Hydra adds lines of its own
        repeat_winner(cfg)


def repeat_winner(cfg: DictConfig) -> None:
    """Trains what is missing, then prints every seed and their spread."""
    from hydra.core.global_hydra import GlobalHydra

    from multirun.phase4 import find_winner, replicate
    from multirun.table import collect, show

    winner = find_winner(cfg.storage, cfg.study)
    GlobalHydra.instance().clear()  # this config is read; those of the runs are composed next
    runs = collect(replicate(winner, cfg.seeds, Path(cfg.folder)))
    show(runs, title=f"{winner.study}, trial {winner.number} over {len(runs)} seeds:")
    print(f"in the sweep: {winner.value:.4f}, on one seed and chosen for being the best, so optimistic")
    print(f"runs:  {Path(cfg.folder) / winner.study / f'trial-{winner.number}'}")
    print(f"study: {winner.study} in {cfg.storage}; ask it with: python -m sweeper.study --help")


def main() -> None:
    """Console script ``mdaf-phase4``."""
    conf.register()
    with reported_in_one_line():
        job()


if __name__ == "__main__":
    main()
