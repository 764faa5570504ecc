"""A sweep of 20 trials beside Ray Tune and hydra-optuna-sweeper: ``python -m benchmarks.tuning --ray PYTHON``.

The same training, data, epochs, number of trials and search space on one machine; each sweep with its own way to choose
points, to stop trials and to start their jobs:

- Ray Tune with ASHA and random points, each trial a process, in an environment of its own
  (``benchmarks/tuning/ray_tune.py``)
- hydra-optuna-sweeper as it is, with Hydra's basic launcher: our program with ``hydra/sweeper=optuna``
- this sweeper as it is, then with what it has to be faster: pruning, several trials in one model, two workers

```
python3.11 -m venv ray && ray/bin/pip install 'ray[tune]' -e '.[ctr]'
python -m benchmarks.tuning --ray ray/bin/python
```

They run in turn. Seconds are from the begin of a command to its end, with its imports. *Of the processor* is
the work of all its processes. They are looked at twenty times a second, since Ray's are no children of the command.
Without ``--ray``, Ray Tune is left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.tuning.sweeps import ROOT, TASK, VARIANTS, Swept, swept


def table(found: dict[str, list[Swept]]) -> str:
    """Markdown: a row for each variant, medians over its sweeps."""
    rounds = len(next(iter(found.values())))
    lines = [f"| {rounds} sweeps each | seconds | least to greatest | of the processor | epochs | trials | best AUC |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for variant, sweeps in found.items():
        clock = sorted(one.seconds for one in sweeps)
        cells = [variant, f"{median(clock):.1f}", f"{clock[0]:.1f} to {clock[-1]:.1f}"]
        cells += [f"{median(one.processor for one in sweeps):.1f}", f"{median(one.epochs for one in sweeps):.0f}"]
        cells += [f"{median(one.trials for one in sweeps):.0f}", f"{median(one.best for one in sweeps):.4f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Runs the sweeps in turn and prints one table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tuning", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ray", metavar="PYTHON", help="the interpreter that has Ray and this project")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--smoke", action="store_true", help="two trials of one epoch, one round")
    options = parser.parse_args()
    if options.smoke:
        options.trials, options.epochs, options.rounds = 2, 1, 1
    chosen = [variant for variant in options.variants if VARIANTS[variant] or options.ray]
    found: dict[str, list[Swept]] = {variant: [] for variant in chosen}
    with tempfile.TemporaryDirectory() as name:
        # Prepares the data and compiles what the first run on a machine compiles, so that no sweep pays for it.
        first = [sys.executable, "-m", "mdaf.sweeper", *TASK, "training.epochs=1", f"data.root={name}/stores"]
        subprocess.run(first, cwd=name, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
        for number in range(options.rounds):
            for variant, sweeps in found.items():
                folder = Path(name) / f"{number}-{list(VARIANTS).index(variant)}"
                sweeps.append(swept(variant, folder, options.trials, options.epochs, options.ray))
    print(table(found))


if __name__ == "__main__":
    main()
