"""mdaf-sweep: finds, confirms and reports hyperparameters. The rooms are ``mdaf.sweeper``, ``mdaf.data`` and others.

``mdaf.attach()`` is for jobs of any Hydra program, ``mdaf.load(run)`` for using a trained model. Importing this package
imports neither Optuna nor torch.
"""

from __future__ import annotations

import os
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mdaf.sweeper.predict.predictor import Predictor
    from mdaf.sweeper.trials.attached import AttachedTrial

# Read once, when torch loads OpenMP, so it stands here. A thread that waits for another must sleep, not spin: beside
# any other busy process (a second worker, a browser) spinning threads keep from its core the very thread that they
# wait for, and a training step was measured to take 6 to 30 times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOMS = ("conf", "data", "model", "sweeper", "multirun")


def attach() -> AttachedTrial:
    """The trial that a sweep gave to this job, to report to. Outside a sweep its methods do nothing.

    It works in whatever process a launcher runs the job, and in processes that the job starts.
    """
    from mdaf.sweeper.trials.attached import attach as attach_here

    return attach_here()


def load(run: str | Path, **options: Any) -> Predictor:
    """The model of a finished run: its method ``predict`` scores the rows of a data frame.

    ``run``      the run's folder.
    ``options``  as in ``mdaf.sweeper.predict.predictor.Predictor``: device, precision, batch_size, root, store.

    UserError, in one line, if the run or its store is missing or damaged, or if the extra [ctr] is not installed.
    """
    from mdaf.extras import require

    require("ctr", "mdaf.load")
    from mdaf.sweeper.predict.predictor import Predictor

    return Predictor(run, **options)


def _refuse_two_clones() -> None:
    """Ends a program that was started with ``python -m`` in one line; elsewhere raises ImportError.

    In the root of a clone Python finds ``mdaf/`` there. With another clone's environment ``mdaf.sweeper`` and the other
    rooms would come from that other clone.
    """
    here = Path(__file__).resolve().parents[1]
    for room in ROOMS:
        if not (here / room / "__init__.py").is_file():
            continue  # installed from a wheel, where the rooms lie within mdaf/
        spec = find_spec(f"mdaf.{room}")
        if spec is None or spec.origin is None or (there := Path(spec.origin).resolve().parent) == here / room:
            continue
        found = f"its mdaf.{room} is {there}"
        line = f"{here} is one clone, and this Python belongs to another: {found}; {_what_to_type(here)}"
        # While Python looks for the module of ``-m``, the program's name is that option.
        if getattr(sys.modules["__main__"], "__spec__", None) is None and sys.argv[:1] != ["-m"]:
            raise ImportError(line)
        print(f"error: {line}", file=sys.stderr)
        raise SystemExit(2)


def _what_to_type(clone: Path) -> str:
    python = clone / ".venv" / "bin" / "python"
    if not python.is_file():
        return f"type make test in {clone}, which makes its own environment"
    return f"type {shlex.join([os.path.relpath(python), *sys.orig_argv[1:]])}"


_refuse_two_clones()
