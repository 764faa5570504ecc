"""The program that was typed: it is asked for its config, and started to run points on seeds. No study names it."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mdaf.errors import UserError
from mdaf.messages.reporting import environment_of_user
from mdaf.messages.secrets import masked_text
from mdaf.processes.children import SECONDS_TO_SAVE, Child, pass_interruption_on
from mdaf.sweeper.hydra_ext.overrides import SIGNS
from mdaf.terminal.printable import in_a_line

ASKED_SECONDS = 300.0  # in which a program has to print its config
OURS = "hydra/sweeper=study"
MOST_LINES = 100  # that a program may print before its config


@dataclass(frozen=True)
class Program:
    """A Hydra program as it is typed, with the overrides that all its runs have in common.

    ``words``  of its command; ``text``: as it was typed, without passwords.
    """

    words: tuple[str, ...]
    text: str

    @classmethod
    def typed(cls, text: str) -> Program:
        """``python`` is the Python that runs this command. UserError if there is no such command."""
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise UserError(f"program: {text!r} is no command line: {error}") from None
        if not words:
            raise UserError('program: found an empty command, expected one such as program="python -m their.module"')
        if words[0] in ("python", "python3"):
            words[0] = sys.executable
        elif shutil.which(words[0]) is None:
            raise UserError(
                f"program: there is no command {in_a_line(words[0])}; expected one such as "
                'program="python -m their.module"'
            )
        return cls(tuple(words), masked_text(text))

    def config(self, overrides: Sequence[str]) -> DictConfig:
        """Its config with these overrides, as ``--cfg job`` prints it. UserError if it can't be asked."""
        asked = [*self.words, "--cfg", "job", OURS, *overrides]
        environment = {**environment_of_user(), "PYTHONWARNINGS": "ignore"}  # which would stand before an error
        try:
            said = subprocess.run(
                asked,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",  # whatever else it prints
                timeout=ASKED_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise UserError(
                f"program: {self.text} has not printed its config (--cfg job) within {ASKED_SECONDS:.0f} s; expected a "
                "Hydra program that does nothing long before hydra.main"
            ) from None
        except OSError as error:
            raise UserError(f"program: {self.text} can't be started: {error.strerror}") from None
        if said.returncode:
            raise UserError(f"program: {self.text} can't be asked for its config (--cfg job): {_reason(said.stderr)}")
        config = _config_in(said.stdout)
        if config is None:
            raise UserError(f"program: {self.text} prints no config with --cfg job, so it is no Hydra program")
        return config

    def run(self, overrides: Sequence[str], environment: Mapping[str, str]) -> None:
        """Runs one multirun to its end. UserError if the program ends with an error, which it has printed."""
        process = Child([*self.words, "-m", *overrides], {**environment_of_user(), **environment})
        try:
            code = process.wait()
        finally:
            process.end(SECONDS_TO_SAVE)
        pass_interruption_on(code)
        if code:
            raise UserError(
                f"program: {self.text} ended with exit code {code}; what it said stands above; mend that, and type the "
                "same command again"
            )


def check_seed_key(config: DictConfig, key: str, program: Program) -> None:
    """UserError if the config has no such key, unless it is typed with a plus."""
    if key.startswith("+"):
        return
    parent, _, name = key.rpartition(".")
    node: Any = OmegaConf.select(config, parent) if parent else config
    if not OmegaConf.is_dict(node) or name not in node:
        raise UserError(
            f"seed_key: the config of {program.text} has no key {in_a_line(key)}; name the one that seeds a run with "
            f"seed_key=..., or add it with seed_key=+{in_a_line(key)} if the program reads it"
        )


def seed_in(config: DictConfig, key: str) -> Any:
    """The seed in a config; None where it cannot be told."""
    try:
        return OmegaConf.select(config, key.lstrip(SIGNS))
    except Exception:  # an interpolation that only a run can resolve
        return None


def _config_in(printed: str) -> DictConfig | None:
    """The config in what a program printed, which may have printed other lines before it."""
    lines = printed.splitlines()
    for start in range(min(len(lines), MOST_LINES)):
        try:
            found = OmegaConf.create("\n".join(lines[start:]))
        except Exception:  # a line that is no YAML
            continue
        if isinstance(found, DictConfig) and found:
            return found
    return None


def _reason(stderr: str) -> str:
    """The line of an error that says most: the last of a traceback, the first of what Hydra says."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    lines = [line for line in lines if "HYDRA_FULL_ERROR" not in line]
    if not lines:
        return "it says nothing"
    if any("hydra/sweeper/study" in line for line in lines):
        return "its Python has no hydra/sweeper=study; install this package there too"
    line = lines[-1] if any(line.startswith("Traceback") for line in lines) else lines[0]
    return masked_text(in_a_line(re.sub(r"\.$", "", line)))
