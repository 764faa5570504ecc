"""The sources of configs as they were typed: --config-path, --config-dir, --config-name and hydra.searchpath.

A sweep records them in its study, so that ``mdaf-study`` can show the command that runs a trial again. A person has to
type that command: no config is ever composed from what a study contains.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.types import RunMode
from omegaconf import DictConfig
from optuna.study import Study

from mdaf.errors import UserError
from mdaf.sweeper.hydra_ext.overrides import typed_in, words
from mdaf.sweeper.hydra_ext.run_config import is_our_schema
from mdaf.terminal.programs import here, started

ORIGIN = "typed_with"  # the user attribute of a study
SEARCH_PATH = "hydra.searchpath="
MAIN = "config"
MODE = "mode"  # in ORIGIN, only where the config sets hydra.mode
MANY_RUNS = "hydra.mode=MULTIRUN"
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
OURS = ("python -m sweeper", "mdaf", "python -m mdaf.sweeper")  # ways to start this program


@dataclass(frozen=True)
class Configs:
    """The sources of configs of a command, as they were typed; None for what was not typed.

    ``folder``  the value of --config-dir.
    ``name``    the value of --config-name: the primary config.
    ``search``  the override of hydra.searchpath.
    ``path``    the value of --config-path, which this project's own commands do not have.
    """

    folder: str | None = None
    name: str | None = None
    search: str | None = None
    path: str | None = None

    @classmethod
    def taken_from(cls, arguments: Sequence[str]) -> tuple[Configs, list[str]]:
        """The sources that a command's arguments name, and the remaining arguments."""
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--config-dir", "-cd")
        parser.add_argument("--config-name", "-cn")
        parser.add_argument("--config-path", "-cp")
        options, rest = parser.parse_known_args(list(arguments))
        search = [argument for argument in rest if argument.startswith(SEARCH_PATH)]
        others = [argument for argument in rest if not argument.startswith(SEARCH_PATH)]
        return cls(options.config_dir, options.config_name, search[-1] if search else None, options.config_path), others

    @classmethod
    def said_by(cls, attribute: Any) -> Configs:
        """The sources that a study's attribute records. Anything that a sweep would not write is ignored."""
        said = attribute if isinstance(attribute, Mapping) else {}
        texts = {key: said.get(key) for key in ("folder", "name", "search", "path")}
        kept = {key: text for key, text in texts.items() if isinstance(text, str) and not text.startswith("-")}
        if not kept.get("search", SEARCH_PATH).startswith(SEARCH_PATH) or "${" in kept.get("search", ""):
            del kept["search"]
        return cls(**kept)

    def words(self) -> list[str]:
        """The sources as arguments of a command."""
        folder = [] if self.folder is None else ["--config-dir", self.folder]
        name = [] if self.name is None else ["--config-name", self.name]
        path = [] if self.path is None else ["--config-path", self.path]
        return [*path, *folder, *name, *([] if self.search is None else [self.search])]

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Composes the config of a job of this program. Raises UserError if the folder does not exist."""
        if self.path is not None:
            raise UserError(
                f"--config-path {self.path}: expected --config-dir {self.path}, which adds to the configs here"
            )
        if self.folder is not None and not Path(self.folder).is_dir():
            raise UserError(f"--config-dir {self.folder}: there is no such folder")
        folders = [] if self.folder is None else [f"file://{Path(self.folder).absolute()}"]
        search = [] if self.search is None else [self.search]
        from hydra import initialize_config_search_path  # since Hydra 1.4, with which this program's jobs are composed

        with initialize_config_search_path(["pkg://mdaf.conf", *folders]):
            return compose(self.name or MAIN, overrides=[*search, *overrides])


def write_origin(study: Study, config: DictConfig, loader: ConfigLoader) -> None:
    """Records in a study which program sweeps it, and the sources of its configs."""
    configs, _ = Configs.taken_from(sys.argv[1:])
    program = started()
    if is_our_schema(config) and program not in OURS:  # this program's sweep within another process
        program = OURS[0]
    origin: dict[str, Any] = {"program": program, **asdict(configs)}
    if not is_our_schema(config) and _asks_for_many_runs(config, loader):
        origin[MODE] = "MULTIRUN"
    if study.user_attrs.get(ORIGIN) != origin:
        study.set_user_attr(ORIGIN, origin)


def _asks_for_many_runs(config: DictConfig, loader: ConfigLoader) -> bool:
    """Whether the config sets ``hydra.mode`` to MULTIRUN by itself, without -m. Composes the config once more."""
    typed = [text for part in typed_in(config) for text in part if text != MANY_RUNS]
    composed = loader.load_configuration(
        config.hydra.job.config_name, typed, run_mode=RunMode.MULTIRUN, validate_sweep_overrides=False
    )
    return bool(composed.hydra.mode == RunMode.MULTIRUN)


def is_ours(attribute: Any) -> bool:
    """Whether a study was swept by this program. A study that does not say so counts as one."""
    return not isinstance(attribute, Mapping) or attribute.get("program") in (None, *OURS)


def for_a_single_run(attribute: Any) -> list[str]:
    """The override that a single run needs where the sweep's config asks for many runs by itself."""
    many = isinstance(attribute, Mapping) and attribute.get(MODE) == "MULTIRUN"
    return ["hydra.mode=RUN"] if many else []


def rerun_command(attribute: Any, overrides: Sequence[str]) -> str:
    """The command that runs a trial by itself, as text: nobody but a person types it.

    It begins with PROGRAM where the study names anything but a module, a console script that is installed here, or the
    Python file of this user.
    """
    said = attribute.get("program") if isinstance(attribute, Mapping) else None
    program = said if said in OURS else OURS[0]
    if not is_ours(attribute):
        program = _command_of(str(said)) or "PROGRAM"
    sources = map(shlex.quote, Configs.said_by(attribute).words())
    return " ".join([here(program), *sources, words(overrides)]).rstrip()


def _command_of(said: str) -> str | None:
    """The start of another program's command; None if that is no module, no console script and no file of this user."""
    try:
        parts = shlex.split(said)
    except ValueError:
        return None
    if parts[:2] == ["python", "-m"] and len(parts) == 3 and _MODULE.fullmatch(parts[2]):
        return said
    if parts[:1] == ["python"] and len(parts) == 2 and _is_of_this_user(Path(parts[1])):
        return f"python {shlex.quote(parts[1])}"
    installed = len(parts) == 1 and entry_points(group="console_scripts", name=parts[0])
    return shlex.quote(parts[0]) if installed else None


def _is_of_this_user(file: Path) -> bool:
    """Whether it is a Python file that nobody else has put there."""
    try:
        return file.suffix == ".py" and file.is_file() and str(file).isprintable() and file.stat().st_uid == os.getuid()
    except (OSError, ValueError):
        return False
