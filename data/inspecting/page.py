"""Plots of a prepared store in one HTML file, which needs no network: ``python -m data inspect --html FILE``."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import numpy as np

from mdaf.data.inspecting.facts import Inspection
from mdaf.data.preparing.scratch import scratch
from mdaf.data.schema import FIRST_ID
from mdaf.data.store.arrays import read_parts
from mdaf.data.store.event_store import GAP_FIELD, SPLITS, EventStore, count_codes
from mdaf.errors import DataError

_BARS = 60  # the most bars of a histogram over time
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>body {{ font-family: system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }}</style>
<script>{plotly}</script>
</head>
<body>
<h1>{title}</h1>
<p>{subtitle}</p>
{plots}
</body>
</html>
"""


def write_page(store: EventStore, found: Inspection, path: Path) -> None:
    """Writes the page of a store. Raises DataError if the file cannot be written."""
    from plotly.offline import get_plotlyjs

    timed = any(field.name == GAP_FIELD for field in store.schema.sequence)  # without gaps, times only give the order
    figures = [
        *([_samples_over_time(store)] if timed else []),
        _click_rates(found),
        _history_lengths(store),
        _cold_starts(found),
        _popularity(store),
        _rules(found),
    ]
    plots = (
        figure.to_html(full_html=False, include_plotlyjs=False, div_id=f"plot{number}")
        for number, figure in enumerate(figures)
    )
    counts = store.manifest["counts"]
    page = _PAGE.format(
        title=html.escape(store.folder.name),
        subtitle=html.escape(f"{counts['events']:,} events; data hash {store.data_hash}; {store.defects}"),
        plotly=get_plotlyjs(),
        plots="\n".join(plots),
    )
    try:
        with scratch(path.parent, path.name) as folder:
            draft = folder / path.name
            draft.write_text(page, encoding="utf-8")
            draft.replace(path)
    except OSError as error:
        raise DataError(f"--html {path}: cannot be written: {error.strerror}") from None


def _figure(title: str, traces: list[Any], x: str, y: str, **layout: Any) -> Any:
    from plotly.graph_objects import Figure

    figure = Figure(traces)
    figure.update_layout(title=title, xaxis_title=x, yaxis_title=y, template="plotly_white", **layout)
    return figure


def _bar(name: str, x: Any, y: Any) -> Any:
    from plotly.graph_objects import Bar

    return Bar(name=name, x=list(x), y=list(y))


def _samples_over_time(store: EventStore) -> Any:
    times = [store.samples[split].time for split in SPLITS]
    spans = [(part.min(), part.max()) for time in times for part in read_parts(time)]
    edges = np.linspace(min(low for low, _ in spans), max(high for _, high in spans) + 1, _BARS + 1)
    middle = ((edges[:-1] + edges[1:]) / 2 * 1000).astype("int64").astype("datetime64[ms]").astype(str)
    counts = [np.sum([np.histogram(part, edges)[0] for part in read_parts(time)], axis=0) for time in times]
    traces = [_bar(split, middle, count) for split, count in zip(SPLITS, counts, strict=True)]
    return _figure("Samples over time", traces, "time, UTC", "samples", barmode="stack")


def _click_rates(found: Inspection) -> Any:
    rates = [found.splits[split].click_rate for split in SPLITS]
    return _figure("Click rate", [_bar("click rate", SPLITS, rates)], "split", "clicks a sample")


def _history_lengths(store: EventStore) -> Any:
    longest = store.schema.length
    traces = []
    for split in SPLITS:
        counts = np.bincount(store.history_lengths(split), minlength=longest + 1)
        traces.append(_bar(split, range(longest + 1), counts / counts.sum()))
    return _figure("History lengths", traces, "events before the sample", "share of samples", barmode="group")


def _cold_starts(found: Inspection) -> Any:
    facts = {split: found.splits[split] for split in SPLITS[1:]}
    traces = [
        _bar(f"{split}, {kind}", fact.unseen, [shares[number] for shares in fact.unseen.values()])
        for split, fact in facts.items()
        for number, kind in enumerate(("positives", "negatives"))
    ]
    return _figure("Values that training has never seen", traces, "field", "share of samples", barmode="group")


def _popularity(store: EventStore) -> Any:
    from plotly.graph_objects import Scatter

    traces = []
    for field in store.schema.static:
        counts = np.sort(count_codes(read_parts(store.samples["train"].static[field.name]))[FIRST_ID:])[::-1]
        counts = counts[counts > 0]
        ranks = np.unique(np.geomspace(1, max(1, len(counts)), 200).astype(int))
        ranks = ranks[ranks <= len(counts)]
        traces.append(Scatter(name=field.name, x=ranks.tolist(), y=counts[ranks - 1].tolist(), mode="lines"))
    figure = _figure("Popularity in training", traces, "rank", "samples")
    figure.update_xaxes(type="log")
    figure.update_yaxes(type="log")
    return figure


def _rules(found: Inspection) -> Any:
    splits = ("validation", "test")
    aucs = dict(found.rules)
    oracle = {split: found.splits[split].oracle for split in splits}
    if oracle["validation"] is not None:
        aucs["oracle"] = {split: value for split, value in oracle.items() if value is not None}
    traces = [_bar(split, aucs, [by_split[split] for by_split in aucs.values()]) for split in splits]
    figure = _figure("AUC of trivial rules", traces, "rule", "AUC", barmode="group")
    figure.add_hline(y=0.5, line_dash="dot")
    return figure
