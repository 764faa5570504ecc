"""Support for jobs on other machines: GPUs of a job, set-up of its process, and errors that mean that it was lost.

Hydra's own plugins (joblib, submitit, Ray) launch such jobs. Importing this module registers the interpolations of
their presets. A process that unpickles a job imports it first, and only then reads a config.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mdaf.errors import LostError, UserError
from mdaf.hydra_internals import register_resolver, start_ray

FOLDER_VARIABLE = "MDAF_FOLDER"  # the sweep's working directory, also for its jobs on Ray

_PLUGINS = "hydra_plugins.hydra_"
_ELSEWHERE = ("joblib_launcher", "submitit_launcher", "ray_launcher")
_LOST = {
    "ray": {"WorkerCrashedError", "NodeDiedError", "LocalRayletDiedError", "ObjectLostError", "OutOfMemoryError"},
    "submitit": {"UncompletedJobError"},
    "joblib": {"TerminatedWorkerError", "BrokenProcessPool", "ShutdownExecutorError"},
    "concurrent": {"BrokenProcessPool", "CancelledError"},  # raised for joblib's other jobs when one process dies
}


def whole_gpus(share: float) -> int:
    """The number of GPUs of a job, for launchers that assign whole GPUs. Raises UserError for a part of one."""
    if share != int(share):
        raise UserError(
            f"device.gpus_per_trial: found {share:g}, but submitit gives out whole GPUs; expected 0 or 1. To share "
            "one, train replicas in it (docs/how-to/launchers.md) or use hydra/launcher=ray"
        )
    return int(share)


def register() -> None:
    """Makes ``${whole_gpus:...}`` known to OmegaConf. Calling it again changes nothing."""
    register_resolver("whole_gpus", whole_gpus)


register()


def enter_ray_worker() -> None:
    """Changes to the sweep's working directory, so that relative paths mean the same. Ray calls it in each worker."""
    if folder := os.environ.get(FOLDER_VARIABLE):
        Path(folder).mkdir(parents=True, exist_ok=True)  # the node may have a disk of its own
        os.chdir(folder)


def runs_elsewhere(launcher: Any) -> bool:
    """Whether each job of a launcher runs in its own process, so that it can be lost without the others."""
    return type(launcher).__module__.startswith(tuple(_PLUGINS + name for name in _ELSEWHERE))


def connect(launcher: Any) -> None:
    """Joins or starts Ray's cluster. It is called once, before several threads launch jobs at the same time."""
    if type(launcher).__module__.startswith(f"{_PLUGINS}ray_launcher"):
        start_ray(launcher.ray_cfg.init)


def is_lost(error: BaseException) -> bool:
    """Whether a launcher's error means that a job's process or node was lost, not that the job itself failed."""
    if isinstance(error, LostError):
        return True
    for kind in type(error).__mro__:
        names = _LOST.get(kind.__module__.partition(".")[0], set())
        if kind.__name__ == "FailedJobError":  # submitit's error for a job that raised an exception
            return False
        if kind.__name__ in names:
            return True
    return False
