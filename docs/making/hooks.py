"""What mkdocs does to the pages of the site: pictures, pages from the clone's root, links that lead out of docs/."""

from __future__ import annotations

import os.path
import posixpath
import re
import runpy
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# Files outside docs/ that are pages of the site: their place in the clone -> their place on the site.
TAKEN = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "README.md": "index.md"}
MERMAID = re.compile(r"^```mermaid\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#|/)([^)#\s]+)(#[\w-]+)?\)")
svg = runpy.run_path(str(HERE / "flowchart.py"))["svg"]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the changelog and the page for contributors, which lie in the root of the clone."""
    for name, page in TAKEN.items():
        if page != "index.md":
            files.append(File.generated(config, page, content=(ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """The page's text with pictures instead of mermaid, and with links that hold on the site."""
    home = {name: file for file, name in TAKEN.items()}
    source = home.get(page.file.src_uri, f"docs/{page.file.src_uri}") if page.file.generated_by else None
    folder = posixpath.dirname(source or f"docs/{page.file.src_uri}")
    markdown = MERMAID.sub(lambda chart: svg(chart[1], f"Flowchart of {page.title}"), markdown)
    return LINK.sub(lambda link: _link(link, folder, posixpath.dirname(page.file.src_uri)), markdown)


def on_post_page(output: str, **_: Any) -> str:
    """The page with a name for its search, which the theme leaves without one for readers of the screen."""
    search = 'data-md-component="search" role="dialog"'
    return output.replace(search, f'{search} aria-label="Search"')


def _link(link: re.Match[str], folder: str, on_site: str) -> str:
    """A link as it holds on the site. What the site does not have is named as a path in the clone."""
    picture, text, target, anchor = link[1], link[2], link[3], link[4] or ""
    in_clone = posixpath.normpath(posixpath.join(folder, target))
    if in_clone.startswith("docs/"):
        there = in_clone.removeprefix("docs/")
    elif in_clone in TAKEN:
        there = TAKEN[in_clone]
    else:
        return text if in_clone.rstrip("/") in text else f"{text} (`{in_clone}`)"
    return f"{picture}[{text}]({os.path.relpath(there, on_site or '.')}{anchor})"
