"""The document around a page's content: style sheet, landmarks, a link past the head. One file, no network."""

from __future__ import annotations

import html
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Final

from mdaf.files.replacing import Start

_DOCUMENT: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="mdaf-sweep">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
{plotly}</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header>
<h1>{title}</h1>
{meta}
</header>
<main id="content">
{body}
</main>
<script>
{script}</script>
</body>
</html>
"""


def is_page(start: Start) -> bool:
    """Whether a file that begins so is one of these pages."""
    return b'<meta name="generator" content="mdaf-sweep">' in start.head


@cache
def style() -> str:
    """The style sheet of every page."""
    return _text("style.css")


def document(title: str, meta: Sequence[str], body: str, *, plotly: bool) -> str:
    """A whole page.

    ``title``, ``meta``  plain text: the heading, and lines below it. ``body`` is HTML.
    ``plotly``  whether plotly.js, about 5 MB, stands in the page; it is not needed where the page has no chart of it.
    """
    return _DOCUMENT.format(
        title=html.escape(title),
        meta="\n".join(f'<p class="meta">{html.escape(line)}</p>' for line in meta),
        style=style(),
        plotly=f"<script>{_plotly()}</script>\n" if plotly else "",
        body=body,
        script=_text("page.js"),
    )


def copyable(line: str, element: str) -> str:
    """A line to type, as HTML, with a button that copies it; ``element`` is its id."""
    return (
        f'<div class="command"><pre id="{element}" tabindex="0">{html.escape(line)}</pre>'
        f'<button type="button" data-copy="{element}" aria-label="Copy the line">Copy</button></div>'
    )


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _text(name: str) -> str:
    return resources.files("mdaf.pages").joinpath(name).read_text(encoding="utf-8")
