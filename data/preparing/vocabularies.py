"""Writes the vocabularies of a log, and fits its numeric and multi-valued fields to their cells in training."""

from __future__ import annotations

from collections.abc import Mapping

from mdaf.data.preparing.layout import Layout
from mdaf.data.store.cell_rows import Fitted
from mdaf.data.store.vocabulary import Vocabulary
from mdaf.data.store.writer import StoreWriter


def write_vocabularies(
    writer: StoreWriter, layout: Layout, vocabularies: Mapping[str, Vocabulary], min_count: Mapping[str, int]
) -> dict[str, Fitted]:
    """Writes the vocabulary of each table. Returns what was fitted to the fields of ``layout.cells``.

    ``min_count``: table -> how often a value, or a member of a list, must occur in training to have a row; default 1.
    Raises DataError if a numeric field has no number in training.
    """
    for table in layout.tables:
        writer.vocabulary(table, vocabularies[table])
    fitted = {}
    for table, rule in layout.cells.items():
        cells = vocabularies[table]
        fitted[table] = writer.cell_rows(table, rule.fit(table, cells, min_count.get(table, 1)), cells.values)
    return fitted
