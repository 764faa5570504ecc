"""``python -m multirun``: a study's best trials to a verdict; ``verify`` and ``summarize`` what is there."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from mdaf import conf, hydra_internals
from mdaf.conf import schema
from mdaf.extras import require
from mdaf.messages import alerts, logs, outcome
from mdaf.messages.reporting import in_one_line, reported_in_one_line
from mdaf.messages.secrets import masked
from mdaf.naming.allowed import allowed
from mdaf.processes.children import import_alike
from mdaf.processes.interruption import messages_of_parent
from mdaf.sweeper import command_line
from mdaf.sweeper.hydra_ext.configs.sources import Configs
from mdaf.sweeper.hydra_ext.overrides import hydra_value, unquoted
from mdaf.sweeper.hydra_ext.targets import explained
from mdaf.terminal import output
from mdaf.terminal.printable import printable
from mdaf.terminal.programs import answer_version, command, here, program

PROGRAM = "program="
COMMANDS = ("verify", "summarize")  # first words that train nothing: mdaf.multirun.commands


@hydra_internals.main("pkg://mdaf.conf", "phase4", ())
def job(cfg: DictConfig) -> None:
    """The task that Hydra runs."""
    with reported_in_one_line():  # before Hydra adds lines of its own
        to_verdict(cfg)


def to_verdict(cfg: DictConfig) -> None:
    """Runs what is missing, writes the report and prints its summary."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    from mdaf.naming.config_keys import check_keys
    from mdaf.sweeper.hydra_ext.run_config import check_alert, check_bounds

    check_keys(cfg, HydraConfig.get())
    check_bounds(cfg)
    check_alert(cfg)
    alerts.use(alerts.Alerts.of(cfg.alert, program()))
    GlobalHydra.instance().clear()  # this config is read; those of the runs are composed next
    folder, study, verdict = _decided(cfg) if cfg.program is None else _decided_by_values(cfg)
    outcome.note(folder=folder, study=study, verdict=printable(verdict))
    print(f"\nverdict: {printable(verdict)}")  # again, since tables may have scrolled it away
    print(f"report: {folder}/report.html, report.md, report.json")
    for label, line in what_follows(folder, study, masked(cfg.storage), cfg.program is not None).items():
        print(f"{label + ':':8}{line}")


def _decided(cfg: DictConfig) -> tuple[Path, str, str]:
    """Of a study of this program: the report's folder, the study, and the verdict in a sentence."""
    from mdaf.multirun.pipeline import decide
    from mdaf.multirun.report.rendering.blocks import in_a_sentence
    from mdaf.multirun.report.sections.verdict import verdict_section
    from mdaf.multirun.report.summarize import show
    from mdaf.multirun.report.verify import load_report

    folder = decide(cfg)
    report = load_report(folder / "report.json")
    show(report, folder=folder)
    return folder, str(report.inputs.study), in_a_sentence(verdict_section(report))


def _decided_by_values(cfg: DictConfig) -> tuple[Path, str, str]:
    """Of a study of another program: the report's folder, the study that holds the runs, and the verdict."""
    from mdaf.multirun.program.evidence_sections import results
    from mdaf.multirun.program.pipeline import decide
    from mdaf.multirun.program.verdict_sections import findings, verdict_section
    from mdaf.multirun.report.rendering.blocks import in_a_sentence
    from mdaf.multirun.report.rendering.printing import print_sections

    folder, report = decide(cfg)
    verdict = verdict_section(report)
    print_sections([verdict, findings(report), results(report)])
    return folder, report.inputs.runs_of, in_a_sentence(verdict)


def what_follows(folder: Path, study: str, storage: str, by_values: bool = False) -> dict[str, str]:
    """Commands about a report that was just written, as they are typed.

    ``by_values``  whether its figures come from the values in the study database.
    """
    where = ["--storage", storage]
    if by_values:  # typed where that program lies, which is no clone of this one
        return {
            "check": here(shlex.join(["mdaf-phase4", "verify", str(folder / "report.json"), *where])),
            "study": here(shlex.join(["mdaf-study", "trials", "--study", study, *where])),
        }
    return {
        "check": f"{command('multirun')} {shlex.join(['verify', str(folder / 'report.json')])}",
        "study": f"{command('sweeper.study')} {shlex.join(['show', '--study', study, *where])}",
    }


def _for_another_program(arguments: Sequence[str]) -> list[str] | None:
    """The arguments as Hydra gets them where a program was typed, which any shell's quoting may hold; else None."""
    if not any(argument.startswith(PROGRAM) and argument != f"{PROGRAM}null" for argument in arguments):
        return None
    return [
        f"{PROGRAM}{hydra_value(argument.removeprefix(PROGRAM))}" if argument.startswith(PROGRAM) else argument
        for argument in arguments
    ]


def _for_this_program(arguments: Sequence[str]) -> list[str]:
    """The arguments as Hydra gets them for a study of this program: overrides of a run's own keys become a list."""
    if not {"--help", "-h"}.isdisjoint(arguments):
        return list(arguments)  # which need no models
    missing = f'{PROGRAM}"python app.py" is missing, the command of the program that was swept'
    require("ctr", f"{program()}: {missing}; a study of this project's own models")
    from mdaf.multirun.phase4 import points
    from mdaf.multirun.phase4.overrides import split

    configs, rest = Configs.taken_from(arguments)
    points.use(configs)
    return split(rest)


def main() -> None:
    """Console script ``mdaf-phase4``."""
    answer_version()
    import_alike()
    output.make_safe()
    with reported_in_one_line():
        require("verdict", program())
    conf.register()
    logs.set_up()
    with messages_of_parent(goes_on="the same command goes on", folder="folder=..."), reported_in_one_line():
        sys.argv[1:] = unquoted(sys.argv[1:])
        if sys.argv[1:2] and sys.argv[1] in COMMANDS:
            from mdaf.multirun.commands import app

            app(prog_name=program())
            return
        arguments = ["ask=false" if argument == "--yes" else argument for argument in sys.argv[1:]]
        sys.argv[1:] = _for_another_program(arguments) or _for_this_program(arguments)
        command_line.check(sys.argv[1:], schema.Phase4, sweeps=False, commands=COMMANDS)
        with explained(), hydra_internals.allowing(allowed()), alerts.at_the_end(in_one_line):
            job()


if __name__ == "__main__":
    main()
