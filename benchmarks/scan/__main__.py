"""Time and memory of the fused kernels, each backend in a process of its own: ``python -m benchmarks.scan``.

Prints a Markdown table with the device and the versions. ``mamba-ssm`` in a row of its own is the library's function on
tensors that were made in its layout, (batch, channel, time); ``mamba_ssm`` is the backend, which turns ours into it.
"""

from __future__ import annotations

import argparse
import platform
from dataclasses import asdict, replace
from importlib import metadata

import torch

from benchmarks.scan.calls import BACKENDS, Shape
from benchmarks.scan.measuring import Figures, in_its_own_process


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
            found = in_its_own_process(operation, backend, replace(shape, batch=rows))
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


if __name__ == "__main__":
    main()
