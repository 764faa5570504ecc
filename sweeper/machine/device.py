"""Selects and checks the device of a run, and configures the process for it."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys
from contextlib import AbstractContextManager, nullcontext

import torch
from omegaconf import DictConfig
from torch import Tensor

from mdaf.errors import UserError
from mdaf.hardware import gpus
from mdaf.model.kernels.precompile import know_triton
from mdaf.model.ops.batched_matmul import cpu_factors_in

PLENTY = 0.5  # of a GPU's memory: giving memory back and asking for it again makes the host wait for the GPU


def available_devices() -> list[str]:
    """The values that ``device.name`` accepts on this machine in addition to ``auto``; the fastest device first."""
    names = ["cpu"]
    if torch.backends.mps.is_available():
        names.insert(0, "mps")
    if torch.cuda.is_available():
        names.insert(0, "cuda")
    return names


def select_device(name: str) -> torch.device:
    """The torch device for ``device.name``. Raises UserError if this machine does not have it."""
    names = available_devices()
    if name == "auto":
        return torch.device(names[0])
    kind, _, index = name.partition(":")
    there = kind in names and (not index or (kind == "cuda" and index.isdigit()))
    if there and index and int(index) >= torch.cuda.device_count():
        there = False
    if not there:
        raise UserError(f"device.name: found {name}, which is not on this machine; choose auto or one of {names}")
    return torch.device(name)


def set_up(cfg: DictConfig) -> torch.device:
    """Selects the device and prepares the process for it; ``cfg`` is the ``device`` group."""
    if cfg.name in ("auto", "cuda") and (names := gpus.chosen(cfg.get("gpus"))):
        gpus.take(names)
    device = select_device(cfg.name)
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    if device.type == "cpu":
        _keep_freed_memory()
    if device.type == "cuda":
        _repeat_exactly()
        _pin_with_several_threads()
        know_triton()
    make_current(device)
    return device


def make_current(device: torch.device) -> None:
    """Makes ``device`` the current CUDA device of this thread, which streams, graphs and Triton use by default."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)


def _repeat_exactly() -> None:
    """Makes results reproducible: by default CUDA adds the gradients of an embedding in random order."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_deterministic_debug_mode(
        "error"
    )  # as use_deterministic_algorithms, but without importing torch._inductor
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@functools.cache
def _pin_with_several_threads() -> None:
    """Lets several threads map the pages of pinned memory: a gigabyte takes 0.25 s instead of 0.9 s.

    It does nothing if an environment variable configures PyTorch's allocator.
    """
    if not os.environ.keys() & {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"}:
        chosen = "pinned_use_cuda_host_register:True,pinned_num_register_threads:8"
        torch._C._accelerator_setAllocatorSettings(chosen)


def _keep_freed_memory() -> None:
    """Tells glibc to keep large freed blocks instead of returning them to the system.

    A training step frees and allocates the same large tensors again and again. By default each allocation is a new
    mapping with a page fault for every page, which costs as much as the arithmetic of an elementwise layer.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    m_trim_threshold, m_mmap_threshold = -1, -3
    libc.mallopt(m_mmap_threshold, 1 << 30)
    libc.mallopt(m_trim_threshold, (1 << 31) - 1)


def choose_precision(precision: str, device: torch.device) -> str:
    """``device.precision``: fp32, tf32 or bf16. Raises UserError if the device does not support it.

    With bf16, weights, moments, sums and the scan's state stay in fp32; on a CPU only factors of matrix products are
    bf16.
    """
    able = {"fp32"}
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        able |= {"tf32", "bf16"}
    if device.type == "cpu" and multiplies_bf16():
        able.add("bf16")
    if precision not in able:
        raise UserError(f"device.precision: found {precision}, which {describe(device)} cannot compute in; use fp32")
    return precision


def multiplies_bf16() -> bool:
    """Whether the CPU has instructions for bfloat16 products; without them bfloat16 is slower than float32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def computing_in(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """A context for forward passes in ``precision``, a result of ``choose_precision``."""
    if precision == "bf16" and device.type == "cpu":
        return cpu_factors_in(torch.bfloat16)
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    return nullcontext()


def describe(device: torch.device) -> str:
    """The device as text, for provenance."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"{device.type}: {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"


def put(values: Tensor, target: Tensor) -> None:
    """Copies ``values`` from the host to ``target`` on a device, asynchronously, in the order of the stream."""
    cuda = target.is_cuda
    target.copy_(values.pin_memory() if cuda else values, non_blocking=cuda)


def return_cached_memory(device: torch.device) -> None:
    """Returns the memory in the allocator's cache to the system."""
    if device.type == "mps":
        torch.mps.empty_cache()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def return_memory_if_short(device: torch.device) -> None:
    """The same, but not where a GPU has plenty left for other processes; called between epochs."""
    if device.type == "cuda":
        free, whole = torch.cuda.mem_get_info(device)
        if free > PLENTY * whole:
            return
    return_cached_memory(device)
