"""The order of the training rows in each epoch, found while the epoch before it trains."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import torch
from torch import Tensor

from mdaf.data.store.device_store import DeviceStore
from mdaf.data.store.epoch_order import epoch_order

#: Orders that are found at a time.
AT_ONCE = 4


class EpochOrders:
    """Orders of a store's training rows by seed and epoch; within ``with``, whose threads find those asked for.

    Shuffling and bucketing a million rows for each of five replicas takes a CPU half a second, in which a GPU would
    wait. The threads never touch the device: a step may be being captured there.

    ``batch_size``, ``window``  as ``epoch_order`` takes them.
    ``rows``                    of each order that are kept; None: all.
    """

    def __init__(self, store: DeviceStore, batch_size: int, window: int, rows: int | None) -> None:
        self._device, self._kept = store.device, rows
        self._ahead = not store.mapped  # of a store that the memory does not hold one epoch's orders are enough
        lengths = store.lengths("train").cpu()
        self._order_of = functools.partial(
            epoch_order, torch.arange(len(lengths)), lengths=lengths, batch_size=batch_size, window=window
        )
        self._found: dict[tuple[int, int], Future[Tensor]] = {}
        self._pool = ThreadPoolExecutor(min(os.cpu_count() or 1, AT_ONCE), thread_name_prefix="orders")

    def __enter__(self) -> EpochOrders:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def of(self, seeds: Sequence[int], epoch: int, *, last: bool) -> Tensor:
        """The rows that an epoch sees, (replica, row) on the store's device; unless it is the ``last``, the next
        epoch's are begun."""
        self._begin(seeds, epoch)
        orders = torch.stack([self._found[seed, epoch].result()[: self._kept] for seed in seeds])
        self._found.clear()
        if self._ahead and not last:
            self._begin(seeds, epoch + 1)
        return orders.to(self._device)

    def _begin(self, seeds: Sequence[int], epoch: int) -> None:
        for seed in seeds:
            if (seed, epoch) not in self._found:
                self._found[seed, epoch] = self._pool.submit(self._order_of, seed=seed, epoch=epoch)
