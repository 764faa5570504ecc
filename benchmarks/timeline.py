"""Where the time of a process with several seeds goes, from its start to its end: ``python -m benchmarks.timeline``.

It runs ``python -m sweeper -m seed=...`` with clocks around its stages, and prints Markdown: when each began first and
ended last, in seconds since the command began, how often it ran, and how long in all. A stage includes those within it.
Each stage begins and ends with a synchronization of the device, so the whole takes a little longer than without clocks.

Where several processes share the seeds (``device.gpus=4``, or ``hydra.launcher.processes=2`` on a CPU), each has a
table of its own, on the same clock.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BEGAN = "BENCHMARK_BEGAN"
INTO = "BENCHMARK_INTO"
COMMAND = "command"
BESIDE = "BENCHMARK_BESIDE"  # set for the processes that a launch starts


@dataclass
class Stage:
    """A stage of a process: seconds since the process began, and how often and how long it ran."""

    first: float
    last: float = 0.0
    times: int = 0
    seconds: float = 0.0


STAGES: dict[str, Stage] = {}


def main() -> None:
    """Measures a process, or, where its environment says so, is that process."""
    if BESIDE in os.environ:
        _measured_beside(int(sys.argv[1]))
        return
    if INTO in os.environ:
        _measured()
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks.timeline", description=__doc__)
    parser.add_argument("overrides", nargs="*", help="of the config, say data=synthetic_taobao data.bucketing=32")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder) / "stages"
        into.mkdir()
        seeds = ",".join(str(seed) for seed in range(1, options.seeds + 1))
        words = ["-m", f"seed={seeds}", *options.overrides, "hydra/launcher=replicas", f"hydra.sweep.dir={folder}/runs"]
        began = time.time()
        environment = os.environ | {BEGAN: repr(began), INTO: str(into)}
        subprocess.run([sys.executable, "-m", "benchmarks.timeline", *words], env=environment, check=True)
        whole = time.time() - began
        print(f"\n{' '.join(words[:-1])}: {whole:.1f} s\n")
        print("\n".join(table(_read(into / COMMAND), whole)))
        for number, file in enumerate((file for file in into.iterdir() if file.name != COMMAND), start=1):
            print(f"\nprocess {number} beside it\n")
            print("\n".join(table(_read(file))))


def _read(file: Path) -> dict[str, Stage]:
    return {name: Stage(**held) for name, held in json.loads(file.read_text()).items()}


def _write(name: str) -> None:
    (Path(os.environ[INTO]) / name).write_text(json.dumps({name: vars(stage) for name, stage in STAGES.items()}))


def table(stages: dict[str, Stage], whole: float | None = None) -> list[str]:
    """Markdown: a row a stage, in the order of their beginnings; ``whole``: seconds of the command."""
    rows = [
        f"| {name} | {stage.first:.2f} | {stage.last:.2f} | {stage.times} | {stage.seconds:.2f} |"
        for name, stage in sorted(stages.items(), key=lambda item: item[1].first)
    ]
    return [
        "| stage | begins | ends | times | seconds |",
        "|---|---:|---:|---:|---:|",
        *rows,
        *([] if whole is None else [f"| the command | 0.00 | {whole:.2f} | 1 | {whole:.2f} |"]),
    ]


def _now() -> float:
    return time.time() - float(os.environ[BEGAN])


def _wait_for_device() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized() and not torch.cuda.is_current_stream_capturing():
        torch.cuda.synchronize()


def clocked(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with a clock around it."""

    @functools.wraps(function)
    def timed(*args: Any, **named: Any) -> Any:
        _wait_for_device()
        begun = _now()
        stage = STAGES.setdefault(name, Stage(begun))
        try:
            return function(*args, **named)
        finally:
            _wait_for_device()
            stage.last = _now()
            stage.times += 1
            stage.seconds += stage.last - begun

    return timed


def _measured() -> None:
    """The process that is measured: the command, with clocks in it."""
    from mdaf.multirun.launching import crew, launcher
    from mdaf.sweeper import __main__ as command

    crew.MEMBER = "benchmarks.timeline"
    os.environ[BESIDE] = "1"
    for name, attribute in (("hand jobs to other processes", "begin"), ("wait for other processes", "results")):
        setattr(crew.Crew, attribute, clocked(name, getattr(crew.Crew, attribute)))

    STAGES["Python and the command's imports"] = Stage(0.0, _now(), 1, _now())
    plain = launcher.ReplicaLauncher.launch

    def launch(self: Any, *args: Any, **named: Any) -> Any:
        STAGES["compose"] = Stage(STAGES["Python and the command's imports"].last, _now(), 1)
        STAGES["compose"].seconds = STAGES["compose"].last - STAGES["compose"].first
        clocked("start other processes", self._crew_for)(len(args[0]))  # as the launch does, before torch is imported
        clocked("import torch and the loop", _install)()
        return clocked("launch", plain)(self, *args, **named)

    launcher.ReplicaLauncher.launch = launch  # type: ignore[method-assign]
    try:
        command.main()
    finally:
        STAGES["after the launch"] = Stage(STAGES["launch"].last, _now(), 1, _now() - STAGES["launch"].last)
        _write(COMMAND)


def _measured_beside(descriptor: int) -> None:
    """A process that takes a share of the launch, with clocks in it."""
    from mdaf.hardware import cores
    from mdaf.multirun.launching import member

    began = min(_now(), _age_of_this_process())
    STAGES["Python and the imports of a member"] = Stage(_now() - began, _now(), 1, began)
    cores.take()  # before torch counts them
    clocked("import torch and the loop", _install)()
    try:
        member.main(descriptor)
    finally:
        _write(str(os.getpid()))


def _age_of_this_process() -> float:
    """Seconds since the system started this process; 0 where it doesn't say."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return float(Path("/proc/uptime").read_text().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return 0.0


def _install() -> None:
    """Puts clocks into what a launch calls."""
    from mdaf.data.store.device_store import DeviceStore
    from mdaf.multirun.launching import lockstep
    from mdaf.sweeper.job import group, job
    from mdaf.sweeper.job.recorder import Recorder
    from mdaf.sweeper.runs.folder import RunFolder
    from mdaf.sweeper.training import loop
    from mdaf.sweeper.training.epoch_orders import EpochOrders
    from mdaf.sweeper.training.evaluating import evaluation
    from mdaf.sweeper.training.replicas import Replicas
    from mdaf.sweeper.training.stepping import step

    places: list[tuple[str, Any, str]] = [
        ("the jobs of this process", lockstep, "run_jobs"),
        ("set a job up", lockstep, "_set_up"),
        ("prepare or open the store", job, "prepare_config"),
        ("choose the device", job, "set_up"),
        ("store onto the device", DeviceStore, "__init__"),
        ("estimate memory", lockstep, "footprint_of"),
        ("build the replicas", group, "build_replicas"),
        ("read states", job.Job, "states"),
        ("compile or load kernels", step.Stepper, "rehearse"),
        ("train a group", group, "train"),
        ("orders of an epoch", EpochOrders, "of"),
        ("steps of an epoch", loop, "_take_steps"),
        ("a step that is not captured", step.Stepper, "_whole"),
        ("capture a step", step, "capture"),
        ("settle large tables", Replicas, "settle"),
        ("evaluate", loop, "evaluate"),
        ("score a split", evaluation, "predict"),
        ("metrics of validation", evaluation.Measured, "figures"),
        ("rows of metrics", loop, "row_of"),
        ("record an epoch", Recorder, "epoch"),
        ("copy a state", RunFolder, "save"),
        ("write a state, in its thread", RunFolder, "_save"),
        ("give memory back", loop, "return_memory_if_short"),
        ("finish a job", lockstep, "_finish"),
        ("wait for the last state", RunFolder, "wait"),
    ]
    for name, owner, attribute in places:
        setattr(owner, attribute, clocked(name, getattr(owner, attribute)))


if __name__ == "__main__":
    main()
