"""The order of the training rows in each epoch, computed in the background during the previous epoch."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import torch
from torch import Tensor

from mdaf.data.store.device_store import DeviceStore
from mdaf.data.store.epoch_order import epoch_order
from mdaf.hardware import cores

#: How many orders are computed at the same time.
AT_ONCE = 4


class EpochOrders:
    """The epoch orders of a store's training rows, by seed and epoch. Use it in ``with``, which ends its threads.

    Shuffling and bucketing a million rows for each of five replicas takes half a second on a CPU, and a GPU would wait
    for it. The threads never use the device, because a step may be being captured there.

    ``batch_size``, ``window``  arguments of ``epoch_order``.
    ``rows``                    how many rows of each order are kept; None: all.
    """

    def __init__(self, store: DeviceStore, batch_size: int, window: int, rows: int | None) -> None:
        self._device, self._kept = store.device, rows
        self._ahead = (
            not store.mapped
        )  # a store that does not fit in memory leaves no memory for the orders of two epochs
        lengths = store.lengths("train").cpu()
        self._order_of = functools.partial(
            epoch_order, torch.arange(len(lengths)), lengths=lengths, batch_size=batch_size, window=window
        )
        self._found: dict[tuple[int, int], Future[Tensor]] = {}
        self._pool = ThreadPoolExecutor(min(len(cores.usable()), AT_ONCE), thread_name_prefix="orders")

    def __enter__(self) -> EpochOrders:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def of(self, seeds: Sequence[int], epoch: int, *, last: bool) -> Tensor:
        """The order of an epoch, (replica, row) on the store's device. Starts on the next epoch's, unless ``last``."""
        self.begin(seeds, epoch)
        permutations = torch.stack([self._found[seed, epoch].result()[: self._kept] for seed in seeds])
        self._found.clear()
        if self._ahead and not last:
            self.begin(seeds, epoch + 1)
        return permutations.to(self._device)

    def begin(self, seeds: Sequence[int], epoch: int) -> None:
        """Starts on the orders of an epoch, of which ``of`` will be asked."""
        for seed in seeds:
            if (seed, epoch) not in self._found:
                self._found[seed, epoch] = self._pool.submit(self._order_of, seed=seed, epoch=epoch)
