"""The command ``mdaf-export``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdaf.errors import UserError
from mdaf.extras import require
from mdaf.messages.reporting import BEGINS_AGAIN, reported_in_one_line
from mdaf.terminal import output
from mdaf.terminal.parser import Parser
from mdaf.terminal.programs import command

if TYPE_CHECKING:  # torch takes seconds to import, and --help does not need it
    from mdaf.data.new_rows.row_format import RowFormat
    from mdaf.data.preparing.source import Source
    from mdaf.data.store.event_store import EventStore
    from mdaf.sweeper.job.trained_run import TrainedRun

ONNX, TORCH = "onnx", "torch"
ROWS = 256  # validation rows that are scored in the check

_EPILOG = """\
FOLDER holds model.onnx or model.pt2, and model.json, which says how to feed it: names, types and axes of the inputs.
The files are checked against the model before the folder appears. docs/how-to/use-a-trained-model.md has an example.

  {export} runs/RUN --out exported
  {export} runs/RUN --out exported --format onnx,torch --vocabularies
"""


def _parser() -> argparse.ArgumentParser:
    name = command("sweeper.export")
    parser = Parser(
        prog=name,
        description="Writes the model of a finished run as ONNX, or as a program of torch.export.",
        epilog=_EPILOG.format(export=name),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the folder of a finished run")
    parser.add_argument("--out", metavar="FOLDER", type=Path, required=True, help="a new folder")
    parser.add_argument(
        "--format", metavar="FORMAT", default=ONNX, help=f"{ONNX}, {TORCH} or both: {ONNX},{TORCH}; default: {ONNX}"
    )
    parser.add_argument(
        "--vocabularies", action="store_true", help="also the ids of raw values; they hold the ids of users, too"
    )
    parser.add_argument("--root", metavar="FOLDER", type=Path, help="of stores; default: data.root of the run")
    parser.add_argument("--store", metavar="FOLDER", type=Path, help="the store that the run was trained on")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Exports a run's model and returns 0.

    SystemExit 2, after one line on stderr, for a mistake of the user; 75 if a signal ended the command, which then
    leaves nothing half written.
    """
    output.make_safe()
    with reported_in_one_line(BEGINS_AGAIN):
        options = _parser().parse_args(arguments)
        formats = _formats(options.format)
        require("ctr", _parser().prog)
        if ONNX in formats:
            require("onnx", f"--format {ONNX}")
        _export(options, formats)
    return 0


def _formats(typed: str) -> list[str]:
    found = typed.split(",")
    if not set(found) <= {ONNX, TORCH}:
        raise UserError(f"--format {typed}: expected {ONNX}, {TORCH} or {ONNX},{TORCH}")
    return found


def _export(options: argparse.Namespace, formats: Sequence[str]) -> None:
    import torch

    from mdaf.data.preparing.source import source_from
    from mdaf.data.store.device_store import DeviceStore
    from mdaf.sweeper.export.folder import export_model, refuse_existing
    from mdaf.sweeper.export.vocabularies import write_vocabularies
    from mdaf.sweeper.job.trained_run import TrainedRun
    from mdaf.sweeper.job.trained_store import store_of
    from mdaf.terminal.progress import working

    refuse_existing(options.out)
    run = TrainedRun.read(options.run)
    source = source_from(run.config.data)
    store = store_of(run, source, options.root, options.store)
    gathered = DeviceStore(store, torch.device("cpu"), history_order=run.config.data.history_order)
    model: Any = run.model(store, torch.device("cpu")).model

    def also(folder: Path) -> Mapping[str, Any]:
        if not options.vocabularies:
            return {}
        return {"vocabularies": write_vocabularies(store, store.schema.tables, folder)}

    rows = gathered.rows("validation")[None, :ROWS]
    with working("exporting the model"):
        checked = export_model(
            model,
            store.schema.without(run.config.model.get("without") or ()),
            options.out,
            formats,
            [gathered.gather("validation", rows)],
            _about(run, source, store, formats),
            also,
        )
    for name, largest in checked.largest.items():
        print(f"{name}: the largest difference from the model is {largest:.1e}, over {checked.rows:,} samples")
    print(f"{options.out}: model.json says how to feed it")


def _about(run: TrainedRun, source: Source, store: EventStore, formats: Sequence[str]) -> dict[str, Any]:
    """What ``model.json`` says of the run and of its data."""
    from importlib.metadata import version

    from mdaf.sweeper.runs.provenance import commit, versions
    from mdaf.sweeper.runs.reader import checkpoint_digest

    describe: Callable[[], RowFormat] | None = getattr(source, "new_rows", None)
    of_onnx = {name: version(name) for name in ("onnx", "onnxscript", "onnxruntime") if ONNX in formats}
    return {
        "run": {
            "model": str(run.config.model._target_),
            "seed": run.saved.seed,
            "config_hash": run.saved.config_hash,
            "checkpoint": checkpoint_digest(run.folder),
        },
        "data": {
            "store": store.folder.name,
            "data_hash": store.data_hash,
            "utc_offset_hours": None if describe is None else describe().utc_offset_hours,
            "cells": {table: rule.to_json() for table, rule in store.cell_rows.items()},
        },
        "versions": {**versions(), **of_onnx, "commit": commit()},
    }
