"""How busy GPUs are, as nvidia-smi samples it."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Busy:
    """Samples the share of the time in which kernels run on each GPU, while it lasts."""

    samples: dict[str, list[float]] = field(default_factory=dict)

    def __enter__(self) -> Busy:
        self._process = None
        if shutil.which("nvidia-smi"):
            query = ["nvidia-smi", "--query-gpu=index,utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]
            self._process = subprocess.Popen(query, stdout=subprocess.PIPE, text=True)
            threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            index, _, share = line.partition(",")
            if share.strip().isdigit():
                self.samples.setdefault(index.strip(), []).append(float(share))

    def shown(self, gpus: Sequence[str]) -> str:
        """The mean of each of these GPUs."""
        return ", ".join(f"{statistics.fmean(self.samples[name]):.0f} %" for name in gpus if self.samples.get(name))
