"""How the programs of this project are typed here, and which first words of ``mdaf`` are commands of their own."""

from __future__ import annotations

import shlex
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


def program() -> str:
    """This program as it was typed, such as ``python -m sweeper``, ``mdaf-study`` or ``mdaf phase4``."""
    return f"{_file()} {_word}".rstrip()


def beside(package: str) -> list[str]:
    """The words that start a program of this project in the way in which this one was started.

    ``package``  a key of ``SCRIPTS``

    Only in a clone is ``python -m multirun`` found, so it is no advice for someone who typed a console script.
    """
    typed = _file()
    if typed in SCRIPTS.values():
        return [SCRIPTS[package]]
    return ["python", "-m", f"mdaf.{package}" if typed.startswith("python -m mdaf.") else package]


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


def _file() -> str:
    file = Path(sys.argv[0])
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.origin == sys.argv[0]:
        return f"python -m {spec.name.removesuffix('.__main__')}"
    if file.name != "__main__.py":
        return f"python {shlex.quote(sys.argv[0])}" if file.suffix == ".py" else file.name
    return f"python -m {file.parent.name}"  # another program, such as pytest, called this one's main


def command(package: str) -> str:
    """The start of a command that works where this process was started, also in another program's folder.

    ``package``  a key of ``SCRIPTS``
    """
    ours = {*SCRIPTS.values(), *(f"python -m {before}{name}" for name in SCRIPTS for before in ("", "mdaf."))}
    return " ".join(beside(package)) if _file() in ours else SCRIPTS[package]
