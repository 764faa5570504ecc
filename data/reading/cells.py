"""Converts columns of text to whole numbers, decimals, ids and words. All sources use it.

The same id may be written in several ways: programs write whole numbers as 1000.0 if a column also has missing values.
Here both 1000 and 1000.0 become the same id, so that two files agree.
"""

from __future__ import annotations

import re

import numpy as np
import polars as pl

MISSING = ("nan", "NaN", "<NA>", "NULL", "null", "None", "\\N")  # what programs write for a missing value
_WHOLE = r"^([+-]?[0-9]+)\.0*$"  # a whole number that was written as a decimal
_ROUNDED = r"^[+-]?[0-9]+(?:\.[0-9]*)?[eE]\+[0-9]+$"  # a large decimal as programs write it; hashes contain no plus
_EXACT = 1 << 53  # float64 represents all whole numbers below this exactly
DIGITS = 5  # significant digits of a number that is a field


def number(name: str) -> pl.Expr:
    """A column of text as whole numbers; null if a text is not one."""
    return pl.col(name).map_batches(_whole, return_dtype=pl.Int64, is_elementwise=True)


def decimal(name: str) -> pl.Expr:
    """A column of text as finite numbers; null if a text is not one."""
    return pl.col(name).map_batches(_decimal, return_dtype=pl.Float64, is_elementwise=True)


def flag(name: str) -> pl.Expr:
    """As ``decimal``; the words true and false are 1 and 0."""
    return pl.col(name).map_batches(lambda text: _decimal(_flags(text)), return_dtype=pl.Float64, is_elementwise=True)


def word(name: str) -> pl.Expr:
    """A column of text as ids or words: stripped of spaces, with 1000 for 1000.0, and null for ``MISSING``."""
    return pl.col(name).map_batches(_word, return_dtype=pl.String, is_elementwise=True)


def rounded(name: str) -> pl.Expr:
    """Whether a text is a whole number that was stored as a decimal and is too large for that.

    Such a number was rounded, so different numbers may have the same text.
    """
    return pl.col(name).map_batches(_rounded, return_dtype=pl.Boolean, is_elementwise=True)


def numbers(name: str) -> pl.Expr:
    """A column of lists of whole numbers, such as ``3|17|4``, with null for missing elements."""
    plain = pl.col(name).str.replace_all(r"\.0*(\||$)", "$1")
    return plain.str.split("|").list.eval(pl.element().str.strip_chars().cast(pl.Int64, strict=False))


def no_numbers(name: str) -> pl.Expr:
    """Whether a list contains an element that is neither missing nor a whole number."""
    absent = "|".join(re.escape(word) for word in ("", *MISSING))
    return ~pl.col(name).str.contains(rf"^(?:\s*(?:[+-]?[0-9]+(?:\.0*)?|{absent})\s*(?:\||$))*$")


def short_decimal(name: str) -> pl.Expr:
    """A column of text as finite numbers of ``DIGITS`` significant digits, written as text: 12.34, 2005; else null.

    The words true and false are 1 and 0.
    """
    return pl.col(name).map_batches(short_decimals, return_dtype=pl.String, is_elementwise=True)


def short_decimals(text: pl.Series) -> pl.Series:
    """As ``short_decimal``, of a series of text."""
    decimals = _decimal(text)
    if decimals.null_count() > text.null_count():
        decimals = _decimal(_flags(text))
    found = decimals.to_numpy()
    with np.errstate(all="ignore"):
        power = DIGITS - 1 - np.floor(np.log10(np.abs(found)))
        scale = 10.0 ** np.abs(np.clip(power, -300, 300))
        short = np.where(power >= 0, np.rint(found * scale) / scale, np.rint(found / scale) * scale)
    short = np.where(np.isfinite(short), short, np.where(np.isfinite(found), found, np.nan)) + 0.0
    written = pl.DataFrame({"short": pl.Series(short, nan_to_null=True)})
    whole = (pl.col("short").abs() < _EXACT) & (pl.col("short") == pl.col("short").floor())
    exact = pl.when(whole).then(pl.col("short")).cast(pl.Int64)
    return written.select(pl.coalesce(exact.cast(pl.String), pl.col("short").cast(pl.String))).to_series()


def member_list(name: str, separator: str) -> pl.Expr:
    """A column of lists such as ``a|b`` in one spelling: members as words, each once, sorted; null without any."""

    def spelled(text: pl.Series) -> pl.Series:
        lists = text.unique()
        return text.replace_strict(lists, members(lists, separator).list.join(separator).replace("", None))

    return pl.col(name).map_batches(spelled, return_dtype=pl.String, is_elementwise=True)


def members(text: pl.Series, separator: str) -> pl.Series:
    """The members of lists such as ``a|b``: words as in ``word``, each once, sorted; none for a missing list."""
    parts = pl.DataFrame({"cell": text}).with_row_index("row").with_columns(pl.col("cell").str.split(separator))
    parts = parts.explode("cell").select("row", _word(parts.explode("cell")["cell"]).alias("member"))
    found = parts.lazy().drop_nulls("member").unique().sort("row", "member").group_by("row", maintain_order=True)
    rows = pl.DataFrame({"row": pl.int_range(len(text), dtype=pl.UInt32, eager=True)}).lazy()
    listed = rows.join(found.agg("member"), on="row", how="left", maintain_order="left").collect()["member"]
    return listed.fill_null(pl.lit([], dtype=pl.List(pl.String)))


def said(name: str) -> pl.Expr:
    """Whether a column of text has a value, valid or not."""
    return pl.col(name).is_not_null() & ~pl.col(name).str.strip_chars().is_in(["", *MISSING])


def _whole(text: pl.Series) -> pl.Series:
    found = text.cast(pl.Int64, strict=False)
    if found.null_count() == text.null_count():
        return found
    text = text.str.strip_chars()  # slower, from here on
    decimals = text.str.extract(_WHOLE).cast(pl.Int64, strict=False)
    exact = pl.when(pl.col("decimals").abs() < _EXACT).then(pl.col("decimals"))
    either = pl.DataFrame({"whole": text.cast(pl.Int64, strict=False), "decimals": decimals})
    return either.select(pl.coalesce("whole", exact)).to_series().rename(text.name)


def _flags(text: pl.Series) -> pl.Series:
    """A series of text with 1 and 0 for the words true and false."""
    return text.str.strip_chars().str.to_lowercase().replace({"true": "1", "false": "0"})


def _decimal(text: pl.Series) -> pl.Series:
    found = text.cast(pl.Float64, strict=False)
    if found.null_count() > text.null_count():
        found = text.str.strip_chars().cast(pl.Float64, strict=False)
    return found.to_frame().select(pl.when(pl.first().is_finite()).then(pl.first())).to_series()


def _word(text: pl.Series) -> pl.Series:
    text = text.str.strip_chars()
    if text.str.contains(".", literal=True).any():
        text = text.str.replace(_WHOLE, "$1")
    absent = text.is_in(["", *MISSING])
    return text.set(absent, None) if absent.any() else text


def _rounded(text: pl.Series) -> pl.Series:
    if not text.str.contains_any([".", "+"]).any():
        return pl.repeat(False, len(text), dtype=pl.Boolean, eager=True).rename(text.name)
    text = text.str.strip_chars()
    large = text.str.contains(_WHOLE) & (text.cast(pl.Float64, strict=False).abs() >= _EXACT)
    return (text.str.contains(_ROUNDED) | large).fill_null(False)
