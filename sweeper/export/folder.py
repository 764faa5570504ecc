"""The folder of an exported model: its files, and ``model.json``, which says how to feed it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mdaf.data.schema import FIRST_ID, MATCH_DIFFERS, MATCH_EQUALS, PADDING, UNKNOWN, Batch, Schema
from mdaf.data.store.batches.time_gaps import gap_edges
from mdaf.data.store.event_store import GAP_FIELD
from mdaf.errors import UserError
from mdaf.files.atomic import fsync_folder
from mdaf.model.ctr import CTRModel
from mdaf.sweeper.export.checks import TOLERANCE, Check, compare
from mdaf.sweeper.export.formats import (
    FILES,
    ONNX,
    OUTPUTS,
    TORCH,
    Feed,
    OnnxProgram,
    TorchProgram,
    traced,
    write_onnx,
    write_torch,
)
from mdaf.sweeper.export.inputs import SEQUENCE, STATIC, Input, Scoring, edge_batches, inputs_of

DESCRIPTION = "model.json"
FORMAT = 1  # of model.json


def export_model(
    model: CTRModel,
    schema: Schema,
    folder: Path,
    formats: Sequence[str] = (ONNX,),
    rows: Iterable[Batch] = (),
    about: Mapping[str, Any] | None = None,
    also: Callable[[Path], Mapping[str, Any]] | None = None,
) -> Check:
    """Writes a trained model on the CPU into a new folder, once the files score as it does.

    ``schema``   of the data that the model is fed with.
    ``formats``  of ``onnx`` and ``torch``.
    ``rows``     batches of one replica that are scored in the check, beside edge cases.
    ``about``    what ``model.json`` says besides: of the run.
    ``also``     writes further files into the folder, and returns what ``model.json`` says of them.

    UserError if the folder is there, if the model cannot be exported, or if its files score differently; there is no
    folder then.
    """
    model = model.eval().requires_grad_(False)
    first = next(edge_batches(schema))
    inputs = inputs_of(model, first)
    with new_folder(folder) as draft:
        program = traced(
            Scoring(model, inputs), {one.name: one.taken_from(first) for one in inputs}, inputs, schema.length
        )
        programs: dict[str, Callable[[Feed], list[np.ndarray]]] = {}
        if ONNX in formats:
            write_onnx(program, inputs, draft / FILES[ONNX])
            programs[ONNX] = OnnxProgram(draft / FILES[ONNX])
        if TORCH in formats:
            write_torch(program, draft / FILES[TORCH])
            programs[TORCH] = TorchProgram(draft / FILES[TORCH])
        checked = compare(model, programs, inputs, [*edge_batches(schema), *rows])
        content = description(schema, inputs, checked) | dict(about or {}) | dict(also(draft) if also else {})
        content["files"] = {file.relative_to(draft).as_posix(): _sha256(file) for file in _files(draft)}
        (draft / DESCRIPTION).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return checked


def description(schema: Schema, inputs: Sequence[Input], checked: Check) -> dict[str, Any]:
    """What ``model.json`` says of the model's inputs and outputs."""
    tables = {
        (of, field.name): field.table
        for of, fields in ((STATIC, schema.static), (SEQUENCE, (*schema.sequence, *schema.matches)))
        for field in fields
    }
    gaps = [schema.tables[tables[key]] - FIRST_ID for key in tables if key == (SEQUENCE, GAP_FIELD)]
    return {
        "format": FORMAT,
        "inputs": [
            {
                "name": one.name,
                "dtype": str(one.dtype).removeprefix("torch."),
                "axes": list(one.axes),
                "field": one.field,
                "table": tables.get((one.of, one.key)),
            }
            for one in inputs
        ],
        "outputs": [{"name": name, "dtype": "float32", "axes": ["batch"]} for name in OUTPUTS],
        "axes": {"batch": {"least": 1}, "length": {"least": 1, "most": schema.length}},
        "ids": {
            "padding": PADDING,
            "unknown": UNKNOWN,
            "first": FIRST_ID,
            "match_differs": MATCH_DIFFERS,
            "match_equals": MATCH_EQUALS,
        },
        "gap_edges": gap_edges(gaps[0]) if gaps else None,
        "tables": {table: schema.tables[table] for table in sorted({tables[key] for key in tables})},
        "check": {
            "batches": checked.batches,
            "rows": checked.rows,
            "largest_difference": dict(checked.largest),
            "tolerance": TOLERANCE,
        },
    }


def refuse_existing(folder: Path) -> None:
    """UserError if the folder, or a file of that name, is there, or if there is no folder to make it in."""
    if os.path.lexists(folder):
        raise UserError(f"--out {folder}: is there already and is not overwritten; choose another name")
    if not folder.absolute().parent.is_dir():
        raise UserError(f"--out {folder}: there is no folder {folder.absolute().parent}; make it first")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A draft that becomes ``folder`` at the end, with everything on the disk; it vanishes if an error comes before."""
    refuse_existing(folder)
    try:
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.absolute().parent))
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be written: {error.strerror}") from None
    try:
        yield draft
        for file in _files(draft):
            with file.open("rb") as content:
                os.fsync(content.fileno())
        fsync_folder(draft)
        draft.chmod(0o777 & ~_umask())
        refuse_existing(folder)
        draft.rename(folder)
        fsync_folder(folder.absolute().parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
