"""What each kernel of this project gains: ``python -m benchmarks.ablation data=... data.bucketing=32``.

A whole training step is measured with every kernel, then with the reference of one operation in the kernel's place,
then with all references together. Prints Markdown for docs/benchmarks.md.

``cost``  how much longer a step takes without the kernel, as a share of the step with all kernels.

The scans' reference is the chunked one, the faster of two in PyTorch. ``compiled`` is the model without kernels, but
for the scans and Adam, through ``torch.compile``. Each variant is measured in turn with the whole, ``--rounds`` times,
and medians are printed, so that a machine that slows down slows both.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks.train.steps import Steps, composed
from mdaf import conf
from mdaf.model import scan
from mdaf.model.kernels import backend
from mdaf.model.layers import mamba
from mdaf.model.ops import causal_conv, embedding, hash_dropout
from mdaf.model.ops.positions import take_position
from mdaf.sweeper.training.optim import replica_optimizers

FUSED = ("causal_conv", "crossed", "hash_dropout", "normed_sum", "activated")
OTHERS = ("lookup", "last output", "joint Adam", "deferred Adam")
SCAN = "scans"
OPERATIONS = (*FUSED, *OTHERS, SCAN)
KEPT = ("last output", "joint Adam", "deferred Adam", SCAN)  # by ``compiled``, since no compiler takes a scan's place
ALL, COMPILED = "all of them", "compiled"


def main() -> None:
    """Measures the variants that were asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="of the config, say data=synthetic_taobao data.bucketing=32")
    parser.add_argument("--without", nargs="+", default=[*OPERATIONS, ALL, COMPILED], metavar="OPERATION")
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--steps", type=int, default=0, help="measured steps; 0: by the device")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_intermixed_args()
    conf.register()
    print(f"{os.cpu_count()} cores, torch {torch.__version__}; {' '.join(options.overrides)}\n")
    for count in options.replicas:
        print(f"{count} replica{'s' if count > 1 else ''}:\n\n| without | ms a step | cost |\n|---|---:|---:|")
        for row in rows(options, count):
            print(row, flush=True)
        print()


def rows(options: argparse.Namespace, count: int) -> Iterator[str]:
    """A row for each variant. The step with all kernels is measured beside each of them."""
    whole = _Variant("", options, count)
    for name in options.without:
        try:
            variant = _Variant(name, options, count)
        except Exception as error:  # a compiler may refuse; the other rows are still wanted
            yield f"| {name} | {type(error).__name__}: {str(error).splitlines()[0][:80]} | |"
            continue
        pairs = [(whole.seconds(), variant.seconds()) for _ in range(options.rounds)]
        before, after = (median(column) for column in zip(*pairs, strict=True))
        yield f"| {name} | {before * 1000:.2f} -> {after * 1000:.2f} | {after / before - 1:+.1%} |"
        del variant
        gc.collect()


class _Variant:
    """Steps without the kernels of ``name``, warmed up."""

    def __init__(self, name: str, options: argparse.Namespace, count: int) -> None:
        self._names = {"": (), ALL: OPERATIONS, COMPILED: tuple(set(OPERATIONS) - set(KEPT))}.get(name, (name,))
        with without(self._names):
            self._steps = Steps(composed(options.overrides), count, options.steps)
            if name == COMPILED:
                self._steps.replicas.model.compile(dynamic=True)
            self._steps.warm_up()

    def seconds(self) -> float:
        """Of one step, on average."""
        with without(self._names):
            return _seconds(lambda: self._steps.run(self._steps.numbers), self._steps.device) / len(self._steps.numbers)


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begun = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun


@contextmanager
def without(operations: Sequence[str]) -> Iterator[None]:
    """Within this context these operations are computed by their references. SystemExit for an unknown one."""
    if unknown := set(operations) - set(OPERATIONS):
        raise SystemExit(f"--without: found {', '.join(sorted(unknown))}, expected {', '.join(OPERATIONS)}")
    chosen = backend.fused_backend

    def fused(operation: str, *args: Any) -> str:
        return "reference" if operation in operations else chosen(operation, *args)

    with ExitStack() as patches:
        for module in (backend, causal_conv, hash_dropout):
            patches.enter_context(mock.patch.object(module, "fused_backend", fused))
        for name, (module, function, instead) in _SWITCHES.items():
            if name in operations:
                patches.enter_context(mock.patch.object(module, function, instead))
        yield


def _whole_scan(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, lengths: Tensor, *rest: Any, **named: Any
) -> Tensor:
    wide = C.unsqueeze(2).expand(-1, -1, x.shape[2], -1).contiguous()
    outputs = scan.selective_scan(x, delta, A, B, wide, D, None, lengths, *rest, **named)
    return take_position(outputs, (lengths - 1).clamp(min=0)).squeeze(2)


def _never(*_: Any) -> bool:
    return False


_SWITCHES: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "lookup": (embedding, "_chosen", lambda *_: "reference"),
    "last output": (mamba, "last_output", _whole_scan),
    SCAN: (scan, "choose_backend", lambda *_: "chunked"),
    "joint Adam": (replica_optimizers, "can_step_jointly", _never),
    "deferred Adam": (replica_optimizers, "can_defer", _never),
}

if __name__ == "__main__":
    main()
