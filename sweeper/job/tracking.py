"""What a job's tracker is told of it: its config, what it is, and the sweep that it belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mdaf.messages.secrets import masked_values
from mdaf.sweeper.hydra_ext.run_config import TELLING
from mdaf.sweeper.tracking.parents import group_of
from mdaf.sweeper.tracking.tracked_run import TrackedRun
from mdaf.sweeper.tracking.tracker import Told

TAGS = ("study", "trial", "seed", "model", "data", "config_hash", "data_hash", "commit", "device")
NO_PARAMS = (*TELLING, "sweep", "resume", "criteria")  # groups that say nothing of the model


def tracked(cfg: DictConfig, folder: Path, identity: Mapping[str, Any]) -> TrackedRun | None:
    """The job's run at its tracker; None without one."""
    if cfg.tracker.name == "none":
        return None
    hydra = HydraConfig.get()
    in_sweep = hydra.mode is RunMode.MULTIRUN
    group_folder = Path(str(hydra.sweep.dir)).absolute() if in_sweep else None
    group = None if group_folder is None else str(cfg.sweep.study or group_of(group_folder))
    told = Told(
        name=group_of(folder) if group is None else f"{group}/{folder.name}",
        folder=folder,
        project=cfg.tracker.project,
        uri=cfg.tracker.uri,
        params=_params(cfg),
        tags={name: str(identity[name]) for name in TAGS if identity.get(name) is not None} | {"folder": str(folder)},
        group=group,
        group_folder=group_folder,
    )
    return TrackedRun(cfg.tracker.name, told, list(cfg.tracker.artifacts))


def _params(cfg: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return dict(_flat(masked_values({name: value for name, value in plain.items() if name not in NO_PARAMS})))


def _flat(node: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a config by their dotted keys; a list is a text."""
    for name, value in node.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", value if isinstance(value, bool | int | float | str) else str(value)
