"""Plots of a prepared store in one HTML file, which needs no network: ``python -m data inspect --html FILE``."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mdaf.data.inspecting.facts import Inspection
from mdaf.data.preparing.scratch import scratch
from mdaf.data.schema import FIRST_ID
from mdaf.data.store.arrays import read_parts
from mdaf.data.store.event_store import GAP_FIELD, SPLITS, EventStore, count_codes
from mdaf.errors import DataError
from mdaf.files.replacing import check_replaceable
from mdaf.pages.charts import chart, laid_out
from mdaf.pages.document import document, is_page
from mdaf.pages.palette import OTHER, colours_of, with_opacity
from mdaf.pages.palette import SPLITS as OF_SPLITS
from mdaf.terminal.printable import printable

_BARS = 60  # the most bars of a histogram over time
_HEIGHT = 380  # pixels of a chart
_SHORT = "~s"  # 15k in place of 1.5e+4
_CAPTIONS = {
    "Samples over time": "When the samples of each split happened. A split by time has its own days.",
    "Click rate": "The share of samples that are positive.",
    "History lengths": "How many events precede a sample. Samples at 0 have no history.",
    "Values that training has never seen": "Where positives and negatives differ here, a model can score by noticing "
    "that a value is new.",
    "Popularity in training": "Samples of each value, the most frequent first. Both axes are logarithmic.",
    "AUC of trivial rules": "A model that does not beat the best of these has learned nothing yet. Dotted: chance.",
}


def write_page(store: EventStore, found: Inspection, path: Path) -> None:
    """Writes the page of a store. UserError if the file cannot be written, or if another one has this name."""
    check_replaceable(path, f"--html {path}", "page of this program", is_page)
    timed = any(field.name == GAP_FIELD for field in store.schema.sequence)  # without gaps, times only give the order
    figures = [
        *([_samples_over_time(store)] if timed else []),
        _click_rates(found),
        _history_lengths(store),
        _cold_starts(found),
        _popularity(store),
        _rules(found),
    ]
    counts = store.manifest["counts"]
    meta = [f"{counts['events']:,} events; data hash {store.data_hash}; {store.defects}"]
    page = document(printable(store.folder.name), meta, _body(figures), plotly=True)
    try:
        with scratch(path.parent, path.name) as folder:
            draft = folder / path.name
            draft.write_text(page, encoding="utf-8")
            draft.replace(path)
    except OSError as error:
        raise DataError(f"--html {path}: cannot be written: {error.strerror}") from None


def _body(figures: Sequence[tuple[str, Any]]) -> str:
    """The figures below their headings, each with a text in its place and a sentence that says how to read it."""
    parts = [
        f'<section aria-labelledby="part{number}">\n<h2 id="part{number}">{html.escape(title)}</h2>\n'
        f"{chart(laid_out(figure, _HEIGHT), f'plot{number}', title, _CAPTIONS[title])}\n</section>"
        for number, (title, figure) in enumerate(figures)
    ]
    return "\n".join(parts)


def _figure(title: str, traces: list[Any], x: str, y: str, **layout: Any) -> tuple[str, Any]:
    from plotly.graph_objects import Figure

    figure = Figure(traces)
    figure.update_layout(xaxis_title=x, yaxis_title=y, **layout)
    return title, figure


def _bar(name: str, x: Any, y: Any) -> Any:
    """Bars, of a split in the colour that it has in every chart: positives full, negatives pale."""
    from plotly.graph_objects import Bar

    split = name.partition(",")[0]
    colour = dict(zip(SPLITS, OF_SPLITS, strict=True)).get(split, OTHER)
    shade = with_opacity(colour, 0.45) if name.endswith("negatives") else colour
    return Bar(name=name, x=list(x), y=list(y), marker={"color": shade})


def _samples_over_time(store: EventStore) -> tuple[str, Any]:
    times = [store.samples[split].time for split in SPLITS]
    spans = [(part.min(), part.max()) for time in times for part in read_parts(time)]
    edges = np.linspace(min(low for low, _ in spans), max(high for _, high in spans) + 1, _BARS + 1)
    middle = ((edges[:-1] + edges[1:]) / 2 * 1000).astype("int64").astype("datetime64[ms]").astype(str)
    counts = [np.sum([np.histogram(part, edges)[0] for part in read_parts(time)], axis=0) for time in times]
    traces = [_bar(split, middle, count) for split, count in zip(SPLITS, counts, strict=True)]
    title, figure = _figure("Samples over time", traces, "time (UTC)", "samples", barmode="stack")
    figure.update_layout(legend_traceorder="normal")  # else a stack's is turned round, other than the charts below
    return title, figure.update_yaxes(tickformat=_SHORT)


def _click_rates(found: Inspection) -> tuple[str, Any]:
    traces = [_bar(split, [split], [found.splits[split].click_rate]) for split in SPLITS]
    return _figure("Click rate", traces, "split", "share of samples")


def _history_lengths(store: EventStore) -> tuple[str, Any]:
    longest = store.schema.length
    traces = []
    for split in SPLITS:
        counts = np.bincount(store.history_lengths(split), minlength=longest + 1)
        traces.append(_bar(split, range(longest + 1), counts / counts.sum()))
    return _figure("History lengths", traces, "events before the sample", "share of samples", barmode="group")


def _cold_starts(found: Inspection) -> tuple[str, Any]:
    facts = {split: found.splits[split] for split in SPLITS[1:]}
    traces = [
        _bar(f"{split}, {kind}", fact.unseen, [shares[number] for shares in fact.unseen.values()])
        for split, fact in facts.items()
        for number, kind in enumerate(("positives", "negatives"))
    ]
    return _figure("Values that training has never seen", traces, "field", "share of samples", barmode="group")


def _popularity(store: EventStore) -> tuple[str, Any]:
    from plotly.graph_objects import Scatter

    traces, colours = [], colours_of(field.name for field in store.schema.static)
    for field in store.schema.static:
        counts = np.sort(count_codes(read_parts(store.samples["train"].static[field.name]))[FIRST_ID:])[::-1]
        counts = counts[counts > 0]
        ranks = np.unique(np.geomspace(1, max(1, len(counts)), 200).astype(int))
        ranks = ranks[ranks <= len(counts)]
        line = {"color": colours[field.name]}
        traces.append(Scatter(name=field.name, x=ranks.tolist(), y=counts[ranks - 1].tolist(), mode="lines", line=line))
    title, figure = _figure("Popularity in training", traces, "rank of the value", "samples")
    figure.update_xaxes(type="log", tickformat=_SHORT, dtick=1)
    figure.update_yaxes(type="log", tickformat=_SHORT, dtick=1)
    return title, figure


def _rules(found: Inspection) -> tuple[str, Any]:
    splits = ("validation", "test")
    aucs = dict(found.rules)
    oracle = {split: found.splits[split].oracle for split in splits}
    if oracle["validation"] is not None:
        aucs["oracle"] = {split: value for split, value in oracle.items() if value is not None}
    traces = [_bar(split, aucs, [by_split[split] for by_split in aucs.values()]) for split in splits]
    title, figure = _figure("AUC of trivial rules", traces, "rule", "AUC", barmode="group")
    figure.add_hline(y=0.5, line_dash="dot", line_color=OTHER)
    return title, figure
