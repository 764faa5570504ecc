"""Measures training steps of every model: ``python -m benchmarks.train``. Prints Markdown for docs/benchmarks.md.

A step is the whole of it: gathering the batch, forward, backward, clipping, Adam. The measured steps are spread over
the epoch by the lengths of their histories, so that their mean is that of the epoch. Where their time goes is measured
by running parts of them alone, on what they get within the steps, piece by piece: so the shares need not add up. The
optimizer's is measured within the step, on CUDA by what is left of it.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

import conf
from data.batches import DeviceStore, epoch_order
from data.prepare import prepare_config
from data.store import EventStore
from model.encoder import Encoder
from model.layers import Embedding
from sweeper.device import computing_in, set_up
from sweeper.objective import build_replicas, hyperparameters, settings
from sweeper.replicas import Replicas
from sweeper.step import Stepper, longest_histories

#: A module and what it is called with.
Call = tuple[nn.Module, tuple[Any, ...]]

MODELS = sorted(path.stem for path in Path(conf.__file__).parent.glob("model/[!_]*.yaml") if path.stem != "boosted")


def main() -> None:
    """Measures the models that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description=__doc__)
    parser.add_argument("overrides", nargs="*", help="of the config, say data=synthetic_taobao data.bucketing=32")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--steps", type=int, default=0, help="measured steps; 0: by the device")
    options = parser.parse_args()
    conf.register()
    print(f"{os.cpu_count()} cores, torch {torch.__version__}; {' '.join(options.overrides)}\n")
    print("| model | parameters | ms a step | samples/s | embedding | sequence | optimizer |\n|---|" + "---:|" * 6)
    for name in options.models:
        with hydra.initialize_config_module("conf", job_name="benchmark"):
            cfg = hydra.compose("config", overrides=[f"model={name}", *options.overrides])
        print(line(name, cfg, options.steps), flush=True)


def line(name: str, cfg: DictConfig, steps: int) -> str:
    """A row of the table for one model."""
    device = set_up(cfg.device)
    store: EventStore = prepare_config(cfg.data)
    batches = DeviceStore(store, device)
    replicas = build_replicas(cfg, store, [hyperparameters(cfg)], device)
    replicas.model.train()
    chosen = settings(cfg, device)
    size = chosen.batch_size
    lengths = batches.lengths("train")
    order = epoch_order(batches.rows("train"), 42, 1, lengths=lengths, batch_size=size, window=cfg.data.bucketing)[None]
    longest = longest_histories(lengths, order, size)
    stepper = Stepper(replicas, batches, chosen.step)
    count = steps or (60 if device.type == "cuda" else 12)
    numbers = spread(longest, count)

    def run(numbers: Sequence[int]) -> None:
        for number in numbers:
            stepper.step(order[:, number * size : (number + 1) * size], number, longest[number])

    for _ in range(2):  # each length of batch is computed once, then captured
        run(numbers if device.type == "cuda" else numbers[::4])
    seconds = _seconds(lambda: run(numbers), device) / count
    few = numbers[:: max(1, count // 4)]
    rows = [order[:, number * size : (number + 1) * size] for number in few]
    parts = shares(stepper, rows, lambda: run(few))
    parameters = sum(p.numel() for p in replicas.model.parameters())
    cells = " | ".join("" if part is None else f"{part:.0%}" for part in parts)
    return f"| {name} | {parameters:,} | {seconds * 1000:.1f} | {size / seconds:,.0f} | {cells} |"


def spread(longest: Sequence[int], count: int) -> list[int]:
    """The numbers of ``count`` full batches of an epoch, evenly spread over the lengths of their longest histories."""
    by_length = sorted(range(len(longest) - 1), key=lambda number: longest[number])
    return [by_length[(2 * i + 1) * len(by_length) // (2 * count)] for i in range(count)]


def shares(
    stepper: Stepper, batches: Sequence[Tensor], run: Callable[[], None]
) -> tuple[float | None, float | None, float]:
    """The time of looking embeddings up, of the history's encoder and of the optimizer, over that of steps.

    ``run`` takes the steps on ``batches``; the parts are run on the same batches in the same pieces. Steps of large
    tables that were put off are done when rows are looked up, so they count as looking up.
    """
    replicas, device = stepper.replicas, stepper.replicas.device
    seconds, optimizing = _steps_and_optimizer(replicas, run)
    inputs = [
        stepper.store.gather("train", rows, longest) for chosen in batches for rows, longest in _pieces(stepper, chosen)
    ]
    calls: list[Call] = []
    parts = [m for m in replicas.model.modules() if isinstance(m, Embedding | Encoder)]
    hooks = [m.register_forward_pre_hook(lambda m, inputs: calls.append((m, inputs))) for m in parts]
    replicas.draw_dropout(0)
    with computing_in(stepper.settings.precision, device), torch.no_grad():
        for batch in inputs:
            replicas.model(batch)
    for hook in hooks:
        hook.remove()

    def share(chosen: list[Call]) -> float:
        return _both_ways(chosen, stepper.settings.precision, replicas) / seconds

    encoders = [call for call in calls if isinstance(call[0], Encoder)]
    looking = share([call for call in calls if isinstance(call[0], Embedding)])
    encoding = share(encoders) if encoders else None
    if device.type != "cuda":
        return looking, encoding, optimizing / seconds
    return looking, encoding, 1 - share([(replicas.model, (batch,)) for batch in inputs])


def _pieces(stepper: Stepper, chosen: Tensor) -> list[tuple[Tensor, int | None]]:
    """The forward passes of a step: rows, and the longest history where the step's own pieces know it."""
    whole = stepper.settings.micro_batch is None and stepper.settings.positions is None
    return [(chosen, None)] if whole else list(stepper.pieces(chosen)[1])


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


def _both_ways(calls: list[Call], precision: str, replicas: Replicas) -> float:
    """Seconds of forward and backward of modules on the inputs that they had."""

    def run() -> None:
        for module, inputs in calls:
            leaves = [
                x.detach().requires_grad_() if isinstance(x, Tensor) and x.is_floating_point() else x for x in inputs
            ]
            with computing_in(precision, replicas.device):
                out = module(*leaves)
            out = out if isinstance(out, Tensor) else out.logits
            out.backward(torch.ones_like(out))
        replicas.model.zero_grad(set_to_none=True)

    replicas.begin_step()
    return _repeated(run, replicas.device)


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
