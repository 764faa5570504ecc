"""How this program was started, what to type for another one, and the first words of ``mdaf`` that are commands."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
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


@dataclass(frozen=True)
class Word:
    """A first word after ``mdaf`` that is a command of its own.

    ``module``  its ``main`` runs the command with the words that follow.
    ``task``    what it does, in a few words.
    ``extra``   the extra that it needs; None if it works in every installation.
    """

    module: str
    task: str
    extra: str | None = "ctr"


WORDS: Final = {
    "check": Word("mdaf.sweeper.check.__main__", "tries a model on a few samples, and says what is wrong"),
    "predict": Word("mdaf.sweeper.predict.cli", "scores a file with the model of a finished run"),
    "export": Word("mdaf.sweeper.export.cli", "writes the model of a finished run as ONNX or for torch"),
    "evaluate": Word("mdaf.sweeper.evaluate", "prints the figures of a finished run on a split"),
    "runs": Word("mdaf.sweeper.run_folders.cli", "lists runs and sweeps; runs clean removes some of them", None),
    "study": Word("mdaf.sweeper.study.cli", "says what a sweep tried and what won", None),
    "phase4": Word("mdaf.multirun.__main__", "runs the best points again on fresh seeds, and reports", "verdict"),
    "data": Word("mdaf.data.__main__", "prepares and inspects a log"),
    "doctor": Word("mdaf.sweeper.doctor.cli", "says what is installed, what is missing, and what to type", None),
    "completion": Word("mdaf.sweeper.completion.cli", "makes the Tab key complete commands, keys and studies", None),
}

_word = ""  # the first word that was typed, while its command runs


def started() -> str:
    """The start of the command that started this process, as a study records it: no folder of an environment is in it.

    Such as ``python -m sweeper``, ``python app.py``, ``mdaf-study``, or the console script of another program. A script
    that the PATH does not find is named as it was typed.
    """
    script = Path(sys.argv[0])
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.origin == sys.argv[0]:
        return f"python -m {spec.name.removesuffix('.__main__')}"
    if script.name == "__main__.py":  # another program, such as pytest, called this one's main
        return f"python -m {script.parent.name}"
    if script.suffix == ".py":
        return f"python {shlex.quote(sys.argv[0])}"
    is_found = script.name in SCRIPTS.values() or shutil.which(script.name)
    return script.name if is_found else shlex.quote(sys.argv[0])


def here(line: str) -> str:
    """A command as it works when it is typed in this folder, whether or not this program's environment is activated.

    ``line``  begins with ``python`` or one of ``SCRIPTS``; any other first word stays as it is.
    """
    word, space, rest = line.partition(" ")
    return f"{_findable(word) if word in ('python', *SCRIPTS.values()) else word}{space}{rest}"


def program() -> str:
    """This program as it can be typed again, such as ``python -m sweeper``, ``mdaf-study`` or ``mdaf phase4``."""
    return here(f"{started()} {_word}".rstrip())


def command(package: str) -> str:
    """The start of a line to type for a program of this project, in the way in which this one was started.

    ``package``  a key of ``SCRIPTS``

    Only in a clone is ``python -m multirun`` found, so it is no advice for someone who typed a console script, or who
    started a program of another author.
    """
    before = {f"python -m {prefix}{name}": prefix for name in SCRIPTS for prefix in ("", "mdaf.")}
    start = started()
    return here(f"python -m {before[start]}{package}" if start in before else SCRIPTS[package])


@contextmanager
def taken_as_word() -> Iterator[str]:
    """Takes the first word off the command line and yields it. While this lasts, ``program`` names the word too."""
    global _word
    before, _word = _word, sys.argv.pop(1)
    try:
        yield _word
    finally:
        _word = before


def version_line() -> str:
    """The answer to ``--version``."""
    try:
        return f"mdaf-sweep {version('mdaf-sweep')}"
    except PackageNotFoundError:  # run from its folder, not installed
        return "mdaf-sweep, which is not installed here"


def answer_version() -> None:
    """Prints the version and ends the program if ``--version`` was typed. Hydra would print its own."""
    if "--version" in sys.argv[1:]:
        print(version_line())
        raise SystemExit(0)


def _findable(name: str) -> str:
    """A program of this environment: its name where that leads to it, else its file, seen from this folder."""
    python = Path(sys.executable)
    own = python if name == "python" else python.with_name(name)
    found = shutil.which(name)
    if found is not None and os.path.realpath(Path(found).parent) == os.path.realpath(own.parent):
        return name
    linked = found is not None and name != "python" and os.path.realpath(found) == os.path.realpath(own)
    if linked or not own.is_file():  # a link, as pipx makes; or it is installed elsewhere
        return name
    folder = Path.cwd()
    return shlex.quote(str(own.relative_to(folder) if own.is_relative_to(folder) else own))
