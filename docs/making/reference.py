"""Writes the pages of docs/reference that come from the code: ``make reference``.

``--check`` changes nothing, and ends with 1 after naming the pages that are not those of the code.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import commands_page
import config_page

FOLDER = Path(__file__).parents[1] / "reference"
PAGES = {"config.md": config_page.page, "commands.md": commands_page.page}


def main() -> None:
    written = {FOLDER / name: page() for name, page in PAGES.items()}
    stale = [path for path, text in written.items() if not path.is_file() or path.read_text() != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"docs/reference/{path.name} is not what the code says: make reference", file=sys.stderr)
        sys.exit(bool(stale))
    for path in stale:
        path.write_text(written[path])


if __name__ == "__main__":
    main()
