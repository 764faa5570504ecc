"""A finished run's model, ready to score rows with raw ids and without labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mdaf.data.new_rows.candidates import ROWS, Candidates
from mdaf.data.new_rows.encoding import RowEncoder
from mdaf.data.new_rows.row_format import RowFormat
from mdaf.data.new_rows.rows import Rows
from mdaf.data.new_rows.tables import Table, table_of
from mdaf.data.preparing.source import source_from
from mdaf.data.reading.defects import Defects
from mdaf.data.store.device_store import DeviceStore
from mdaf.data.store.event_store import EventStore
from mdaf.errors import DataError, UserError
from mdaf.sweeper.job.trained_run import TrainedRun
from mdaf.sweeper.job.trained_store import store_of
from mdaf.sweeper.machine.device import available_devices
from mdaf.sweeper.runs.reader import BEST
from mdaf.sweeper.training.evaluating.evaluation import predict
from mdaf.terminal.progress import Progress, silent

SCORE = "score"
ROWS_AT_ONCE = 1 << 20
_LARGEST = 700.0  # of a logit: its exponential is a float64


class Predictor:
    """Scores rows with the model of a finished run. ``mdaf.load`` makes one.

    ``run``     the run.
    ``store``   the store that it was trained on, from which the codes of raw ids and the histories come.
    ``format``  the columns of rows and of events.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        device: str | None = None,
        precision: str | None = None,
        batch_size: int | None = None,
        root: str | Path | None = None,
        store: str | Path | None = None,
    ) -> None:
        """Reads the run and opens its store. UserError, in one line, if one of them is missing or damaged.

        ``device``      ``cpu``, ``cuda``, ``mps`` or ``auto``; None: the one of the run's config, or else ``auto``.
        ``precision``   ``fp32``, ``tf32`` or ``bf16``; None: the run's.
        ``batch_size``  the most rows of a forward pass; None: as in the run's evaluation, which gives the same digits.
        ``root``        the folder of stores; None: ``data.root`` of the run's config.
        ``store``       the store itself.
        """
        self.run = TrainedRun.read(Path(folder))
        source = source_from(self.run.config.data)
        describe: Callable[[], RowFormat] | None = getattr(source, "new_rows", None)
        if describe is None:
            raise DataError(
                f"{folder}: its source, {source.name}, does not say how new rows are written; give its class a method "
                "new_rows, as mdaf.data.new_rows.row_format describes"
            )
        self.store: EventStore = store_of(
            self.run, source, None if root is None else Path(root), None if store is None else Path(store)
        )
        self.format: RowFormat = describe().of(self.store)
        config = self.run.config
        config.device.name = device or _device_here(str(config.device.name))
        config.device.precision = precision or config.device.precision
        self._batch_size = config.training.eval_batch_size if batch_size is None else batch_size
        if self._batch_size < 1:
            raise UserError(f"batch size: found {self._batch_size}, expected at least 1")
        self._device = self.run.set_up_device()
        self._precision = self.run.precision(self._device)
        self._model = self.run.model(self.store, self._device)

    def predict(self, rows: Any, events: Any = None, *, score: str = SCORE) -> Any:
        """A data frame with the columns of ``rows``, in its order, and their probabilities of a click.

        ``rows``    a data frame of polars or pandas with the columns of ``format.rows``.
        ``events``  the events of the histories, with the columns of ``format.events``; None: those of the store.
        ``score``   the name of the new column, float64 in (0, 1).

        DataError for a column that is missing, and for a row that cannot be scored.
        """
        scored = pl.concat(self.scored(_polars(rows), None if events is None else _polars(events), score=score))
        return scored if isinstance(rows, pl.DataFrame) else rows.assign(**{score: scored[score].to_numpy()})

    def scored(
        self,
        rows: pl.DataFrame | Path,
        events: pl.DataFrame | Path | None = None,
        *,
        score: str = SCORE,
        rows_at_once: int = ROWS_AT_ONCE,
        progress: Progress = silent,
    ) -> Iterator[pl.DataFrame]:
        """As ``predict``, of a data frame or a file, in blocks of about ``rows_at_once`` rows; at least one block."""
        read = Rows.of(self._table(rows, "the data frame of rows"), self.format, self.format.rows)
        if score in read.names:
            raise UserError(f"{read.table.name} has a column {score!r} already; choose another name for the scores")
        encoder = RowEncoder(self.store, self.format, None if events is None else self._events(events, progress))
        empty = True
        for frame, typed, share in _collected(read.scorable(), rows_at_once):
            progress("scoring", share)
            empty = False
            scores = self._scores(encoder, typed)
            yield frame.with_columns(pl.Series(score, scores))
        if empty:
            schema = {name: read.table.kinds().get(name, pl.String()) for name in read.names}
            yield pl.DataFrame(schema={**schema, score: pl.Float64()})

    def _scores(self, encoder: RowEncoder, typed: pl.DataFrame) -> np.ndarray:
        """The probabilities of a click of typed rows, (rows,) float64."""
        candidates, order = encoder.candidates(typed)
        logits = np.empty(len(order), dtype=np.float64)
        logits[order] = self._logits(candidates)
        if not np.isfinite(logits).all():
            raise UserError(
                f"{self.run.folder / BEST}: scores {np.count_nonzero(~np.isfinite(logits)):,} of {len(logits):,} rows "
                "with no finite number: the run diverged"
            )
        scores = 1 / (1 + np.exp(-np.clip(logits, -_LARGEST, _LARGEST)))
        return np.minimum(scores, np.nextafter(1, 0))

    def _logits(self, candidates: Candidates) -> np.ndarray:
        config = self.run.config
        gathered = DeviceStore(candidates, self._device, config.device.memory_fraction, config.data.history_order)
        rows = gathered.rows(ROWS)[None]
        if not rows.numel():
            return np.zeros(0)
        found = predict(self._model, gathered, ROWS, rows, self._batch_size, self._precision)
        return found.logits[0].double().cpu().numpy()

    def _table(self, given: pl.DataFrame | Path, name: str) -> Table:
        return table_of(given, self.format, name)

    def _events(self, given: pl.DataFrame | Path, progress: Progress) -> Iterator[pl.DataFrame]:
        if not self.format.events:
            raise UserError(f"{self.run.folder}: each row lists its own history, so no events can be given")
        table, defects = self._table(given, "the data frame of events"), Defects()
        for typed, found, share in Rows.of(table, self.format, self.format.events).events():
            progress("reading events", share)
            defects += found
            yield typed
        if defects.rows:
            defects.refuse_if_too_many(table.name, self.run.config.data.max_bad_fraction)


def _collected(
    blocks: Iterable[tuple[pl.DataFrame, pl.DataFrame, float]], rows: int
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame, float]]:
    """The same rows in blocks of ``rows``; the last one may be shorter."""
    frames: list[pl.DataFrame] = []
    fields: list[pl.DataFrame] = []
    share = 0.0
    for frame, typed, share in blocks:
        frames.append(frame)
        fields.append(typed)
        while sum(map(len, frames)) >= rows:
            frame, typed = pl.concat(frames), pl.concat(fields)
            yield frame.head(rows), typed.head(rows), share
            frames, fields = [frame.slice(rows)], [typed.slice(rows)]
    if sum(map(len, frames)):
        yield pl.concat(frames), pl.concat(fields), share


def _device_here(name: str) -> str:
    """The device of a run's config if this machine has it."""
    return name if name == "auto" or name.partition(":")[0] in available_devices() else "auto"


def _polars(frame: Any) -> pl.DataFrame:
    """A data frame of polars or pandas as one of polars. UserError for anything else."""
    if isinstance(frame, pl.DataFrame):
        return frame
    if not hasattr(frame, "columns") or not hasattr(frame, "to_dict"):
        raise UserError(f"rows are {type(frame).__name__}; expected a data frame of polars or pandas")
    return pl.DataFrame({str(name): _column(frame[name]) for name in frame.columns})


def _column(series: Any) -> pl.Series:
    values = series.to_numpy()
    if values.dtype == object:
        return pl.Series([None if value is None or value != value else value for value in values], strict=False)
    return pl.Series(values)
