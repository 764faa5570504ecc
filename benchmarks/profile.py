"""Where the time of training steps goes on a GPU, kernel by kernel: ``python -m benchmarks.profile``. Prints Markdown.

Steps of K replicas in lock-step, spread over the epoch by the lengths of their histories, replayed from CUDA graphs.
Kernels of the two branches overlap, so together they may take longer than the step.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from benchmarks.train.steps import Steps, composed
from mdaf import conf

#: What part of a step a kernel belongs to: the first whose words are in its name.
PARTS = {
    "selective scans": ("_scan_",),
    "convolutions": ("_conv_",),
    "layer norms and activations": ("_norm_", "_activation_", "_dropout"),
    "cross layers": ("_cross_",),
    "looked up and its gradient": ("_embedding_", "index", "gather", "Radix", "Sort", "sort", "scan_by_key"),
    "Adam": ("_adam_", "multi_tensor", "FusedAdam"),
    "matrix products": ("gemm", "cutlass", "nvjet", "splitK", "gemv", "cublas"),
    "sums": ("_sum_partials", "reduce"),
    "copied and cast": ("copy", "Memcpy", "Memset", "CatArray", "fill"),
}
REST = "the rest"


@dataclass
class Spent:
    """Kernels of one sort in all measured steps: how many, and microseconds."""

    kernels: int = 0
    microseconds: float = 0.0

    def add(self, microseconds: float) -> None:
        self.kernels += 1
        self.microseconds += microseconds


def main() -> None:
    """Profiles what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("overrides", nargs="*", help="of the config, say data=synthetic_taobao data.bucketing=32")
    parser.add_argument("--replicas", type=int, default=5)
    parser.add_argument("--steps", type=int, default=0, help="measured steps; 0: sixty")
    parser.add_argument("--kernels", type=int, default=20, help="how many kernels are named")
    options = parser.parse_intermixed_args()
    if not torch.cuda.is_available():
        raise SystemExit("benchmarks.profile looks at kernels of a CUDA device, of which there is none here")
    conf.register()
    steps = Steps(composed(options.overrides), options.replicas, options.steps)
    steps.warm_up()
    torch.cuda.synchronize()
    begun = time.perf_counter()
    steps.run(steps.numbers)
    torch.cuda.synchronize()
    milliseconds = 1e3 * (time.perf_counter() - begun) / len(steps.numbers)
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        steps.run(steps.numbers)
        torch.cuda.synchronize()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; {' '.join(options.overrides)}")
    print(f"{options.replicas} replicas, {milliseconds:.2f} ms a step\n")
    events = [event for event in found.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    parts, kernels = tallied(events)
    print("\n".join(table("part", parts, len(steps.numbers), len(parts))))
    print("\n" + "\n".join(table("kernel", kernels, len(steps.numbers), options.kernels)))


def tallied(events: Iterable[FunctionEvent]) -> tuple[dict[str, Spent], dict[str, Spent]]:
    """What was spent by part and by kernel."""
    parts: dict[str, Spent] = {}
    kernels: dict[str, Spent] = {}
    for event in events:
        parts.setdefault(part_of(event.name), Spent()).add(event.device_time)
        kernels.setdefault(event.name, Spent()).add(event.device_time)
    return parts, kernels


def part_of(kernel: str) -> str:
    """The part of a step that a kernel of this name belongs to."""
    return next((part for part, words in PARTS.items() if any(word in kernel for word in words)), REST)


def table(head: str, spent: dict[str, Spent], steps: int, lines: int) -> list[str]:
    """Markdown: the ``lines`` that took longest, and all together, for each of ``steps``."""
    longest = sorted(spent.items(), key=lambda item: -item[1].microseconds)
    whole = Spent(sum(s.kernels for s in spent.values()), sum(s.microseconds for s in spent.values()))
    rows = [(name[:80].replace("|", "/"), s) for name, s in longest[:lines]] + [("all", whole)]
    return [f"| {head} | kernels | ms |", "|---|---:|---:|"] + [
        f"| {name} | {s.kernels / steps:.1f} | {s.microseconds / 1e3 / steps:.3f} |" for name, s in rows
    ]


if __name__ == "__main__":
    main()
