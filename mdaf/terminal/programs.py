"""How the programs of this project are typed here: as modules of a clone or of the package, or by their names."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

# Package -> console script.
SCRIPTS: Final = {
    "sweeper": "mdaf",
    "sweeper.study": "mdaf-study",
    "sweeper.predict": "mdaf-predict",
    "sweeper.evaluate": "mdaf-evaluate",
    "sweeper.export": "mdaf-export",
    "multirun": "mdaf-phase4",
    "data": "mdaf-data",
}


def program() -> str:
    """This program as it was typed: ``python -m sweeper``, or the name of its console script."""
    file = Path(sys.argv[0])
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.origin == sys.argv[0]:
        return f"python -m {spec.name.removesuffix('.__main__')}"
    if file.name != "__main__.py":
        return file.name
    return f"python -m {file.parent.name}"  # another program, such as pytest, called this one's main


def beside(package: str) -> list[str]:
    """The words that start a program of this project in the way in which this one was started.

    ``package``  a key of ``SCRIPTS``

    Only in a clone is ``python -m multirun`` found, so it is no advice for someone who typed a console script.
    """
    typed = program()
    if typed in SCRIPTS.values():
        return [SCRIPTS[package]]
    return ["python", "-m", f"mdaf.{package}" if typed.startswith("python -m mdaf.") else package]
