"""What jobs on other machines need: what a job may ask of a node, how its process gets ready, how its loss is told.

Jobs are launched by Hydra's own plugins (joblib, submitit, Ray). Interpolations of their presets are known from the
import of this module on: whichever process unpickles a job imports it, before it reads a config.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from mdaf.errors import UserError
from mdaf.hydra_internals import start_ray

FOLDER_VARIABLE = "MDAF_FOLDER"  # the working directory of the sweep, which its jobs on Ray work in too

_PLUGINS = "hydra_plugins.hydra_"
_ELSEWHERE = ("joblib_launcher", "submitit_launcher", "ray_launcher")
_LOST = {
    "ray": {"WorkerCrashedError", "NodeDiedError", "LocalRayletDiedError", "ObjectLostError", "OutOfMemoryError"},
    "submitit": {"UncompletedJobError"},
    "joblib": {"TerminatedWorkerError", "BrokenProcessPool", "ShutdownExecutorError"},
    "concurrent": {"BrokenProcessPool", "CancelledError"},  # of joblib's other jobs at that moment
}


def whole_gpus(share: float) -> int:
    """GPUs of a job where they are given out whole. UserError for a part of one."""
    if share != int(share):
        raise UserError(
            f"device.gpus_per_trial: found {share:g}, but submitit gives out whole GPUs; expected 0 or 1. To share "
            "one, train replicas in it (docs/cluster.md) or use hydra/launcher=ray"
        )
    return int(share)


def register() -> None:
    """Makes ``whole_gpus`` known to OmegaConf. Idempotent."""
    OmegaConf.register_resolver("whole_gpus", whole_gpus, replace=True, annotation_validation="off")


register()


def enter_ray_worker() -> None:
    """Called by Ray in each worker process: relative paths mean there what they mean where the sweep was typed."""
    if folder := os.environ.get(FOLDER_VARIABLE):
        Path(folder).mkdir(parents=True, exist_ok=True)  # a node need not share the disk
        os.chdir(folder)


def runs_elsewhere(launcher: Any) -> bool:
    """Whether a launcher's jobs run in processes of their own, so that one may be lost without the others."""
    return type(launcher).__module__.startswith(tuple(_PLUGINS + name for name in _ELSEWHERE))


def connect(launcher: Any) -> None:
    """Joins or starts Ray's cluster, once, before several threads would each do so when they launch."""
    if type(launcher).__module__.startswith(f"{_PLUGINS}ray_launcher"):
        start_ray(launcher.ray_cfg.init)


def is_lost(error: BaseException) -> bool:
    """Whether a launcher says with this error that a job's process or node is gone, and not what the job did wrong."""
    for kind in type(error).__mro__:
        names = _LOST.get(kind.__module__.partition(".")[0], set())
        if kind.__name__ == "FailedJobError":  # submitit's, of a job that ran and raised
            return False
        if kind.__name__ in names:
            return True
    return False
