"""mdaf-sweep: finds, confirms and reports hyperparameters. The rooms are ``mdaf.sweeper``, ``mdaf.data`` and others.

``mdaf.run``, ``mdaf.sweep``, ``mdaf.study``, ``mdaf.report`` and ``mdaf.load`` are this program from Python.
``mdaf.attach()`` is for jobs of any Hydra program. Importing this package imports neither Optuna, pandas nor torch.
"""

from __future__ import annotations

import os
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from mdaf.api.finished_run import Run
    from mdaf.api.reports import Report
    from mdaf.sweeper.predict.predictor import Predictor
    from mdaf.sweeper.trials.attaching.attached import AttachedTrial

# Read once, when torch loads OpenMP, so it stands here. A thread that waits for another must sleep, not spin: beside
# any other busy process (a second worker, a browser) spinning threads keep from its core the very thread that they
# wait for, and a training step was measured to take 6 to 30 times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOMS = ("conf", "data", "model", "sweeper", "multirun")


def attach() -> AttachedTrial:
    """The trial that a sweep gave to this job, to report to. Outside a sweep its methods do nothing.

    It works in whatever process a launcher runs the job, and in processes that the job starts.
    """
    from mdaf.sweeper.trials.attaching.attached import attach as attach_here

    return attach_here()


def run(overrides: Sequence[str] | Mapping[str, Any] = (), *, quiet: bool = False) -> Run:
    """Trains one model, and returns the finished run.

    The command `mdaf OVERRIDES` does the work, as a child process in the working directory. So the result is the
    command's own, digit for digit. The calling process keeps its logs, signal handlers and memory, whatever happens in
    the run. Starting the command takes some seconds. What it says is shown: in a notebook its latest lines in one
    place, elsewhere each line on standard error.

    Args:
        overrides: As on the command line, such as `["model=din", "training.epochs=2"]`; or a dict, such as
            `{"model": "din", "training.epochs": 2}`, whose values are Python's.
        quiet: Whether to show nothing.

    Returns:
        The run: `folder`, `best_value`, `metrics` (a pandas frame), `predict(rows)`.

    Raises:
        UserError: In one line, where something that was typed is wrong.
        StoppedError: Where the run ended without a result, because a device failed or a signal ended it.
        KeyboardInterrupt: Where the kernel was interrupted. The state is saved, and `resume=auto` goes on from it.
    """
    from mdaf.api.finished_run import run as run_here

    return run_here(overrides, quiet=quiet)


def sweep(overrides: Sequence[str] | Mapping[str, Any] = (), *, quiet: bool = False) -> pd.DataFrame:
    """Runs a sweep, `mdaf -m OVERRIDES`, as a child process (see `mdaf.run`), and returns the points of its study.

    Args:
        overrides: As for `mdaf.run`. Without a `hydra/sweeper=...` in it, `hydra/sweeper=regularization` is added. A
            text such as `"interval(0, 0.5)"` is a range to search, also in a dict.
        quiet: Whether to show nothing.

    Returns:
        The frame of `mdaf.study`.

    Raises:
        UserError: In one line, where something that was typed is wrong, or too many trials failed.
        StoppedError: Where the sweep ended before its end. The same call goes on.
        KeyboardInterrupt: Where the kernel was interrupted. The same call goes on.
    """
    from mdaf.api.studies import sweep as sweep_here

    return sweep_here(overrides, quiet=quiet)


def study(name: str | None = None, storage: str | None = None) -> pd.DataFrame:
    """The points of a study, of this program or of any other that uses the sweeper.

    Nothing in the database is changed. Only pandas is needed beside the light installation.

    Args:
        name: The study; None for the most recently active one.
        storage: The database's URL; None for `MDAF_STORAGE` in the environment, or else `sqlite:///runs/studies.db`.

    Returns:
        A row for each point, the best first. `mean` and its standard `error` are over the finished runs of the point,
        which have these `seeds`, `values` and `trials`. `posterior_mean` is what a further run of a raced study is
        expected to give, and missing elsewhere. `params.KEY` are the parameters. With several objectives the columns
        are `mean_0`, `error_0`, `mean_1` and so on. `attrs["study"]` is the study's name.

    Raises:
        UserError: In one line, where there is no such database or study.
    """
    from mdaf.api.studies import study as study_here

    return study_here(name, storage)


def report(
    study: str | pd.DataFrame,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    storage: str | None = None,
    folder: str | Path = "runs/phase4",
    run: bool = False,
    quiet: bool = False,
) -> Report:
    """The report of Phase 4 on a study: the one that is there, or with `run=True` a new one.

    Args:
        study: The study's name, or the frame that `mdaf.study` or `mdaf.sweep` returned.
        overrides: With `run=True`, as for `mdaf-phase4`, such as `["looks=[4]", "confirm.top=1"]`.
        storage: The database's URL, as for `mdaf.study`.
        folder: Below which Phase 4 puts runs and reports.
        run: Whether to run `mdaf-phase4`, which trains what is missing, without asking.
        quiet: Whether to show nothing.

    Returns:
        The report: `verdict` (one sentence), `deploy`, `path` (the page), `figures`.

    Raises:
        UserError: In one line, where there is no report, or something that was typed is wrong.
        StoppedError: Where Phase 4 ended before its end. The same call goes on.
        KeyboardInterrupt: Where the kernel was interrupted. The same call goes on.
    """
    from mdaf.api.reports import report as report_here

    return report_here(study, overrides, storage=storage, folder=folder, run=run, quiet=quiet)


def load(run: str | Path | Run, **options: Any) -> Predictor:
    """The model of a finished run: its method `predict` scores the rows of a data frame.

    Args:
        run: The run's folder, or what `mdaf.run` returned.
        **options: As in `mdaf.sweeper.predict.predictor.Predictor`: device, precision, batch_size, root, store.

    Raises:
        UserError: In one line, if the run or its store is missing or damaged, or if the extra [ctr] is not installed.
    """
    from mdaf.extras import require

    require("ctr", "mdaf.load")
    from mdaf.api.finished_run import path_of
    from mdaf.sweeper.predict.predictor import Predictor

    return Predictor(path_of("run", run, "a run's folder, or what mdaf.run returned"), **options)


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
