"""Time and memory of the fused kernels, each backend in a process of its own: ``python -m benchmarks.scan``.

Prints a Markdown table with the device and the versions. ``mamba-ssm`` in a row of its own is the library's function on
tensors that were made in its layout, (batch, channel, time); ``mamba_ssm`` is the backend, which turns ours into it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

# Read by PyTorch at its first allocation: large pages for large tensors. With small ones a fresh tensor of 100 MB costs
# more in page faults than the kernel that fills it. An existing setting stays.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import torch
from torch import Tensor

from mdaf.model.ops.causal_conv import causal_conv
from mdaf.model.ops.hash_dropout import hash_dropout
from mdaf.model.scan import selective_scan
from mdaf.sweeper.machine.telemetry import peak_resident_bytes

LIBRARY = "mamba-ssm in its own layout"
#: Replays of a CUDA graph between two looks at the clock.
REPLAYS = 10
BACKENDS = {
    "selective scan": ("reference", "chunked", "cpu", "triton", "mamba_ssm", LIBRARY),
    "convolution": ("reference", "cpu", "triton"),
    "dropout": ("reference", "cpu"),
}


@dataclass(frozen=True)
class Shape:
    """The tensors of one call, and how often it is timed."""

    replica: int
    batch: int
    length: int
    channel: int
    state: int
    bfloat16: bool
    device: str
    repeats: int


@dataclass(frozen=True)
class Figures:
    """Seconds (the least of the repeats) and bytes above the inputs."""

    forward: float
    backward: float
    memory: float

    @property
    def total(self) -> float:
        return self.forward + self.backward


def main() -> None:
    """Measures what can run here and prints the table."""
    shape, reference_batch, operations, backends = _arguments()
    print(_here(shape))
    print(f"\n{shape}\n")
    print("| operation | backend | forward ms | backward ms | both ms | memory MB | times the reference |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for operation in operations:
        reference: Figures | None = None
        for backend in (backend for backend in BACKENDS[operation] if backend in backends):
            rows = min(reference_batch, shape.batch) if backend in ("reference", "chunked") else shape.batch
            found = _in_its_own_process(operation, backend, replace(shape, batch=rows))
            if isinstance(found, str):
                print(f"| {operation} | {backend} | {found} | | | | |", flush=True)
                continue
            scale = shape.batch / rows
            figures = Figures(*(value * scale for value in asdict(found).values()))
            reference = reference or figures
            print(_row(operation, backend, figures, reference, scale), flush=True)


def _arguments() -> tuple[Shape, int, list[str], list[str]]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scan", description="Time and memory of the kernels.")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    for name, value in {"replica": 1, "batch": 2048, "length": 50, "channel": 256, "state": 16, "repeats": 7}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--bfloat16", action="store_true", help="sequences in bfloat16 instead of float32")
    parser.add_argument("--reference-batch", type=int, help="rows for plain PyTorch, scaled up; default: all")
    parser.add_argument("--operation", choices=list(BACKENDS), action="append", help="only this one; can be repeated")
    known = sorted({backend for backends in BACKENDS.values() for backend in backends})
    parser.add_argument("--backend", choices=known, action="append", help="only this one; can be repeated")
    given = vars(parser.parse_args())
    backends = given.pop("backend") or known
    operations = given.pop("operation") or list(BACKENDS)
    reference_batch = given.pop("reference_batch") or given["batch"]
    return Shape(**given), reference_batch, operations, backends


def _here(shape: Shape) -> str:
    """The device and the versions, in one line."""
    if shape.device == "cuda":
        device = torch.cuda.get_device_name()
    else:
        device = f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    versions = []
    for package in ("torch", "numba", "triton", "mamba-ssm"):
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return f"{device}; {', '.join(versions)}"


def _row(operation: str, backend: str, figures: Figures, reference: Figures, scale: float) -> str:
    times = " | ".join(f"{1e3 * value:.2f}" for value in (figures.forward, figures.backward, figures.total))
    name = backend if scale == 1 else f"{backend} (1/{scale:g} of the rows, scaled)"
    speedup = reference.total / figures.total
    return f"| {operation} | {name} | {times} | {figures.memory / 1e6:.0f} | {speedup:.1f} |"


def _in_its_own_process(operation: str, backend: str, shape: Shape) -> Figures | str:
    """The figures, or why there are none. Its own process, so that peak memory is the backend's alone."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (operation, backend, shape))


def _measure(operation: str, backend: str, shape: Shape) -> Figures | str:
    try:
        call, leaves = _library_call(shape) if backend == LIBRARY else _call(operation, backend, shape)
        call().sum().backward()
    except (ValueError, ImportError) as error:
        return str(error)
    dy = torch.ones_like(leaves[0])

    def both() -> tuple[Tensor, ...]:
        return torch.autograd.grad(call(), leaves, dy)

    before = _reset_peak_memory(leaves, shape.device)
    both()
    memory = _peak_memory(shape.device) - before
    once = _replayed if shape.device == "cuda" else _clocked
    forward, both_passes = once(call, shape.repeats), once(both, shape.repeats)
    return Figures(forward, both_passes - forward, memory)


def _clocked(call: Callable[[], Any], repeats: int) -> float:
    """Seconds of a call, the least of the repeats."""
    took = []
    for _ in range(repeats):
        started = time.perf_counter()
        kept = call()
        took.append(time.perf_counter() - started)
        del kept
    return min(took)


def _replayed(call: Callable[[], Any], repeats: int) -> float:
    """Seconds of a call in a CUDA graph, as training runs it: what Python takes to launch kernels does not count."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = call()
    took = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(REPLAYS):
            graph.replay()
        torch.cuda.synchronize()
        took.append((time.perf_counter() - started) / REPLAYS)
    del kept
    return min(took)


def _call(operation: str, backend: str, shape: Shape) -> tuple[Callable[[], Tensor], list[Tensor]]:
    """The call to time, and the tensors that it gives gradients to."""
    generator = torch.Generator().manual_seed(0)
    sequence = torch.bfloat16 if shape.bfloat16 else torch.float32
    rows = (shape.replica, shape.batch, shape.length)

    def leaf(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(*size, generator=generator).to(shape.device, dtype).requires_grad_()

    x = leaf(*rows, shape.channel, dtype=sequence)
    arguments: dict[str, Any] = {"x": x}
    if operation == "dropout":
        rate = torch.full((shape.replica,), 0.2, device=shape.device)
        key = torch.arange(shape.replica, device=shape.device)
        return lambda: hash_dropout(x, rate, key, backend), [x]
    if operation == "convolution":
        arguments |= {"weight": leaf(shape.replica, shape.channel, 4), "bias": leaf(shape.replica, shape.channel)}
        return lambda: causal_conv(**arguments, backend=backend), list(arguments.values())
    arguments |= {name: leaf(*rows, shape.channel, dtype=sequence) for name in ("delta", "z")}
    arguments |= {name: leaf(*rows, shape.state, dtype=sequence) for name in ("B", "C")}
    arguments |= {name: leaf(shape.replica, shape.channel) for name in ("D", "delta_bias")}
    arguments["A"] = (-leaf(shape.replica, shape.channel, shape.state).detach().exp()).requires_grad_()
    return lambda: selective_scan(**arguments, backend=backend), list(arguments.values())


def _library_call(shape: Shape) -> tuple[Callable[[], Tensor], list[Tensor]]:
    """mamba-ssm's own function on one replica's tensors in its own layout; raises ImportError where it is missing."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    dtype = torch.bfloat16 if shape.bfloat16 else torch.float32

    def leaf(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(*size, device=shape.device, dtype=dtype).requires_grad_()

    x, delta, z = (leaf(shape.batch, shape.channel, shape.length, dtype=dtype) for _ in range(3))
    B, C = (leaf(shape.batch, shape.state, shape.length, dtype=dtype) for _ in range(2))
    A = (-leaf(shape.channel, shape.state).detach().exp()).requires_grad_()
    D, bias = leaf(shape.channel), leaf(shape.channel)
    call = lambda: selective_scan_fn(x, delta, A, B, C, D, z, bias, delta_softplus=True)  # noqa: E731
    return call, [x, delta, z, B, C, A, D, bias]


def _clear(leaves: list[Tensor]) -> None:
    for leaf in leaves:
        leaf.grad = None


def _reset_peak_memory(leaves: list[Tensor], device: str) -> float:
    """Starts a new peak with the inputs alone in memory; the bytes that they and the process take."""
    _clear(leaves)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        with suppress(OSError):  # Linux only; elsewhere the peak is that of the whole process
            Path("/proc/self/clear_refs").write_text("5")
    return _peak_memory(device)


def _peak_memory(device: str) -> float:
    """Bytes: on CUDA the allocator's peak, on a CPU the process's peak resident memory."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    with suppress(OSError):
        status = Path("/proc/self/status").read_text()
        return 1024.0 * int(status.split("VmHWM:")[1].split()[0])
    return peak_resident_bytes()


if __name__ == "__main__":
    main()
