"""How many replicas fit on a device: estimated from a small forward pass, corrected by what training took."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mdaf.data.store.device_store import DeviceStore
from mdaf.hardware import gpus
from mdaf.sweeper.machine.device import computing_in
from mdaf.sweeper.machine.telemetry import peak_resident_bytes, resident_mb
from mdaf.sweeper.training.replicas import Replicas
from mdaf.sweeper.training.settings import LoopSettings
from mdaf.sweeper.training.stepping.microbatches import micro_batch_sizes, position_weight

log = logging.getLogger(__name__)

#: Rows of the measured forward pass: so many that memory which does not grow with the batch hardly counts.
SAMPLE = 256
#: Copies of the weights in training: the weights, the gradient and Adam's two moments.
COPIES = 4
#: The share of the free memory that the plan uses; the rest is for temporary tensors within operations.
SHARE = 0.9
GIGABYTE = 1e9


@dataclass(frozen=True)
class Footprint:
    """The memory of one replica in training, in bytes: its ``weights`` and the ``activations`` of a step."""

    weights: int
    activations: int

    @property
    def total(self) -> int:
        return COPIES * self.weights + self.activations


def footprint(replica: Replicas, store: DeviceStore, settings: LoopSettings) -> Footprint:
    """The memory of each replica like the given one, in a step with the longest histories."""
    lengths = store.lengths("train")
    rows = lengths.argsort(descending=True, stable=True)[:SAMPLE]
    batch = min(settings.step.micro_batch or settings.training.batch_size, settings.training.batch_size)
    if settings.step.micro_batch is None and settings.step.positions is not None and replica.separable:
        weight = position_weight(replica.model, 1)
        batch = micro_batch_sizes([int(lengths.max())] * batch, weight, settings.step.positions)[0]
    kept = _kept_bytes(replica, store, rows[None], settings.step.precision)
    weights = sum(p.numel() * p.element_size() for p in replica.model.parameters())
    return Footprint(weights, int(kept * batch / len(rows)))


def _kept_bytes(replica: Replicas, store: DeviceStore, rows: Tensor, precision: str) -> int:
    """Bytes that a forward pass on ``rows`` (1, row) keeps for the backward pass, without weights."""
    weights = {p.untyped_storage().data_ptr() for p in replica.model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    replica.begin_step()
    replica.draw_dropout(0)
    replica.model.train()
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, computing_in(precision, replica.device):
        output = replica.model(store.gather("train", rows))
    del output
    return sum(kept.values())


def free_bytes(device: torch.device) -> int:
    """Free memory of ``device``; memory in this process's cache counts as free.

    Of a GPU that several processes were given it is at most this one's part.
    """
    if device.type == "cuda":
        free, whole = torch.cuda.mem_get_info(device)
        taken = torch.cuda.memory_allocated(device)
        return min(free + torch.cuda.memory_reserved(device) - taken, whole // gpus.shared_by() - taken)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():  # Linux; the page cache counts as free
        found = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())
        if found:
            return int(found[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def held_bytes(device: torch.device) -> int:
    """Memory that this process holds now."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else int(resident_mb() * 1e6)


def peak_bytes(device: torch.device) -> int:
    """The most memory that this process has held since ``forget_peak``; on a CPU since it started."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_resident_bytes()


def forget_peak(device: torch.device) -> None:
    """Restarts the measurement of the peak, on devices that can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


class Capacity:
    """How many replicas fit in one group. It corrects the estimate after each group.

    ``held``  bytes that the process holds before the first group; they belong to no replica.
    """

    def __init__(self, held: int = 0) -> None:
        self.held, self.correction = held, 1.0

    def of(self, one: Footprint, free: int, wanted: int) -> int:
        """How many of ``wanted`` replicas fit into ``free`` bytes; at least 1, even if the estimate says 0."""
        fits = int(SHARE * free / (one.total * self.correction))
        return max(1, min(wanted, fits))

    def learn(self, one: Footprint, replicas: int, peak: int) -> None:
        """Corrects the estimate: the process held ``peak`` bytes at most while it trained so many replicas.

        A peak that is not above ``held`` is older than these replicas and is ignored.
        """
        estimate, took = one.total * replicas, peak - self.held
        if took <= 0:
            return
        log.info(
            "%d replicas took %.2f GB at the peak; the estimate was %.2f GB",
            replicas,
            took / GIGABYTE,
            estimate * self.correction / GIGABYTE,
        )
        self.correction = took / estimate

    def overflowed(self, one: Footprint, replicas: int, free: int) -> None:
        """Corrects the estimate: so many replicas did not fit into ``free`` bytes. A fifth fewer may, at least one.

        One fewer would often not fit either, and each attempt may take an epoch.
        """
        self.correction = max(self.correction, SHARE * free / (one.total * max(1, replicas * 4 // 5)))
