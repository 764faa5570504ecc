"""Measures training steps of every model: ``python -m benchmarks.train``. Prints Markdown for docs/benchmarks.md.

A step is gathering the batch, forward, backward, clipping and Adam. The measured steps are spread over the epoch by
the lengths of their histories, so that their mean is that of the epoch. To find where their time goes, each part of the
model is run alone, on the inputs that it has within the steps and in the same micro-batches. So the shares need not add
up. ``static`` is what neither looks embeddings up nor belongs to a sequence: crossing fields, mixing branches, the
logit. The optimizer's share is measured within the step; on CUDA it is what forward and backward leave of the step.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from benchmarks.train.steps import Steps, composed
from mdaf import conf
from mdaf.data.schema import Batch
from mdaf.model.ctr import Output
from mdaf.model.din import ActivationUnit
from mdaf.model.layers.encoder import Encoder
from mdaf.model.layers.fields import Tables
from mdaf.model.layers.sequence import SequenceBranch
from mdaf.sweeper.machine.device import computing_in
from mdaf.sweeper.training.replicas import Replicas
from mdaf.sweeper.training.stepping.step import Stepper

PARTS = ("embedding", "sequence", "static")
MODELS = sorted(path.stem for path in Path(conf.__file__).parent.glob("model/[!_]*.yaml") if path.stem != "boosted")


class Call(NamedTuple):
    """A function or module, and what it is called with."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    named: dict[str, Any]


def main() -> None:
    """Measures the models that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description=__doc__)
    parser.add_argument("overrides", nargs="*", help="of the config, say data=synthetic_taobao data.bucketing=32")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--steps", type=int, default=0, help="measured steps; 0: by the device")
    options = parser.parse_intermixed_args()
    conf.register()
    print(f"{os.cpu_count()} cores, torch {torch.__version__}; {' '.join(options.overrides)}\n")
    names = ("model", "parameters", "ms a step", "samples/s", *PARTS, "optimizer")
    print(f"| {' | '.join(names)} |\n|---|{'---:|' * (len(names) - 1)}")
    for name in options.models:
        print(line(name, composed([f"model={name}", *options.overrides]), options.steps), flush=True)


def line(name: str, cfg: DictConfig, measured: int) -> str:
    """A row of the table for one model."""
    steps = Steps(cfg, measured=measured)
    steps.warm_up()
    count = len(steps.numbers)
    seconds = _seconds(lambda: steps.run(steps.numbers), steps.device) / count
    few = steps.numbers[:: max(1, count // 4)]
    found = shares(steps.stepper, [steps.rows(number) for number in few], lambda: steps.run(few)).values()
    parameters = sum(p.numel() for p in steps.replicas.model.parameters())
    cells = " | ".join("" if share is None else f"{share:.0%}" for share in found)
    return f"| {name} | {parameters:,} | {seconds * 1000:.1f} | {steps.size / seconds:,.0f} | {cells} |"


def shares(stepper: Stepper, batches: Sequence[Tensor], run: Callable[[], None]) -> dict[str, float | None]:
    """The time of each of ``PARTS`` and of the optimizer over that of steps; None for a part that the model lacks.

    ``run`` takes the steps on ``batches``; the parts run on the same batches, cut into the same micro-batches.
    Deferred steps of large tables are applied when rows are looked up, so they count as lookup.
    """
    replicas, device = stepper.replicas, stepper.replicas.device
    seconds, optimizing = _steps_and_optimizer(replicas, run)
    inputs = [
        stepper.store.gather("train", rows, longest) for chosen in batches for rows, longest in _pieces(stepper, chosen)
    ]
    replicas.draw_dropout(0)
    calls = _calls(replicas, inputs, stepper.settings.precision)
    found: dict[str, float | None] = {
        part: _both_ways(calls[part], stepper.settings.precision, replicas) / seconds if calls[part] else None
        for part in PARTS
    }
    if device.type != "cuda":
        return {**found, "optimizer": optimizing / seconds}
    whole = [Call(replicas.model, (batch,), {}) for batch in inputs]
    return {**found, "optimizer": 1 - _both_ways(whole, stepper.settings.precision, replicas) / seconds}


def _calls(replicas: Replicas, inputs: Sequence[Batch], precision: str) -> dict[str, list[Call]]:
    """What the model calls for ``inputs``, by the part that it belongs to."""
    calls: dict[str, list[Call]] = {part: [] for part in PARTS}
    hooks = [
        module.register_forward_pre_hook(
            lambda m, args, named, part=part: calls[part].append(Call(m, args, named)), with_kwargs=True
        )
        for module, part in parts(replicas.model)
    ]
    with ExitStack() as patches:
        for name in ("each", "factors"):
            looking_up = _noted(getattr(Tables, name), calls["embedding"])
            patches.enter_context(mock.patch.object(Tables, name, looking_up))
        with computing_in(precision, replicas.device), torch.no_grad():
            for batch in inputs:
                replicas.model(batch)
    for hook in hooks:
        hook.remove()
    return calls


def _noted(function: Callable[..., Any], calls: list[Call]) -> Callable[..., Any]:
    def noted(*args: Any, **named: Any) -> Any:
        calls.append(Call(function, args, named))
        return function(*args, **named)

    return noted


def parts(module: nn.Module, part: str = "static") -> Iterator[tuple[nn.Module, str]]:
    """The largest modules that look nothing up, each with its part: what a sequence goes through, or the rest."""
    for child in module.children():
        if isinstance(child, Encoder | ActivationUnit):
            yield child, "sequence"
        elif isinstance(child, Tables):
            continue
        elif any(isinstance(below, Tables | Encoder | ActivationUnit) for below in child.modules()):
            yield from parts(child, "sequence" if isinstance(child, SequenceBranch) else part)
        else:
            yield child, part


def _pieces(stepper: Stepper, chosen: Tensor) -> list[tuple[Tensor, int | None]]:
    """The forward passes of a step: rows, and the longest history where the step's own micro-batches know it."""
    whole = stepper.settings.micro_batch is None and stepper.settings.positions is None
    return [(chosen, None)] if whole else [(part.rows, part.longest) for part in stepper.micro_batches(chosen)[1]]


def _steps_and_optimizer(replicas: Replicas, run: Callable[[], None]) -> tuple[float, float]:
    """Seconds of ``run``, and of the optimizer within it, which a captured step does not tell (then 0)."""
    step, spent = replicas.step, 0.0

    def timed(clip_norm: float | None) -> None:
        nonlocal spent
        spent += _seconds(lambda: step(clip_norm), replicas.device)

    run()
    setattr(replicas, "step", timed)  # noqa: B010  only for this measurement
    seconds = _seconds(run, replicas.device)
    setattr(replicas, "step", step)  # noqa: B010
    return seconds, spent


def _both_ways(calls: Sequence[Call], precision: str, replicas: Replicas) -> float:
    """Seconds of forward and backward of calls on the inputs that they had."""

    def run() -> None:
        for call in calls:
            args = [_leaf(x) for x in call.args]
            with computing_in(precision, replicas.device):
                out = call.function(*args, **call.named)
            outputs = tree_leaves(out.logits if isinstance(out, Output) else out)
            torch.autograd.backward(outputs, [torch.ones_like(x) for x in outputs])
        replicas.model.zero_grad(set_to_none=True)

    replicas.begin_step()
    return _repeated(run, replicas.device)


def _leaf(x: Any) -> Any:
    return x.detach().requires_grad_() if isinstance(x, Tensor) and x.is_floating_point() else x


def _repeated(run: Callable[[], None], device: torch.device) -> float:
    """Seconds of one run; on CUDA replayed from a graph, as within a step."""
    for _ in range(2):
        run()
    if device.type != "cuda":
        return _seconds(run, device, 3)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return _seconds(graph.replay, device, 20)


def _seconds(run: Callable[[], object], device: torch.device, times: int = 1) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begun = time.perf_counter()
    for _ in range(times):
        run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - begun) / times


if __name__ == "__main__":
    main()
