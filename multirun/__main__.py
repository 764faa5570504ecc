"""``python -m multirun``: a study's best trials to a verdict; ``verify`` and ``summarize`` what is there."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import hydra
from hydra.utils import execution_whitelist
from omegaconf import DictConfig

from mdaf import conf, logs
from mdaf.children import import_alike
from mdaf.conf import schema
from mdaf.extras import require
from mdaf.interruption import messages_of_parent
from mdaf.reporting import reported_in_one_line
from mdaf.secrets import masked
from mdaf.sweeper import command_line
from mdaf.sweeper.hydra_ext.config_sources import Configs
from mdaf.sweeper.hydra_ext.overrides import unquoted
from mdaf.sweeper.hydra_ext.targets import allowed, explained
from mdaf.terminal import output

COMMANDS = ("verify", "summarize")  # first words that train nothing: mdaf.multirun.commands


@hydra.main(config_path="pkg://mdaf.conf", config_name="phase4", execution_whitelist=())
def job(cfg: DictConfig) -> None:
    """The task that Hydra runs."""
    with reported_in_one_line():  # before Hydra adds lines of its own
        to_verdict(cfg)


def to_verdict(cfg: DictConfig) -> None:
    """Trains what is missing, writes the report and prints its summary."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    from mdaf.config_keys import check_keys
    from mdaf.multirun.pipeline import decide
    from mdaf.multirun.report.summarize import show
    from mdaf.multirun.report.verify import load_report
    from mdaf.sweeper.hydra_ext.run_config import check_bounds

    check_keys(cfg, HydraConfig.get())
    check_bounds(cfg)
    GlobalHydra.instance().clear()  # this config is read; those of the runs are composed next
    folder = decide(cfg)
    report = load_report(folder / "report.json")
    show(report)
    print(f"report: {folder}/report.html, report.md, report.json")
    for label, line in what_follows(folder, str(report.inputs.study), masked(cfg.storage)).items():
        print(f"{label + ':':8}{line}")


def what_follows(folder: Path, study: str, storage: str) -> dict[str, str]:
    """Commands about a report that was just written, as they are typed."""
    return {
        "check": shlex.join(["python", "-m", "multirun", "verify", str(folder / "report.json")]),
        "study": shlex.join(["python", "-m", "sweeper.study", "show", "--study", study, "--storage", storage]),
    }


def main() -> None:
    """Console script ``mdaf-phase4``."""
    import_alike()
    output.make_safe()
    conf.register()
    logs.set_up()
    with messages_of_parent(goes_on="the same command goes on", folder="folder=..."), reported_in_one_line():
        require("ctr", command_line.program())
        sys.argv[1:] = unquoted(sys.argv[1:])
        if sys.argv[1:2] and sys.argv[1] in COMMANDS:
            from mdaf.multirun.commands import app

            app(prog_name=command_line.program())
            return
        from mdaf.multirun.phase4 import points
        from mdaf.multirun.phase4.overrides import split

        configs, arguments = Configs.taken_from(sys.argv[1:])
        points.use(configs)
        sys.argv[1:] = split(["ask=false" if argument == "--yes" else argument for argument in arguments])
        command_line.check(sys.argv[1:], schema.Phase4, sweeps=False, commands=COMMANDS)
        with explained(), execution_whitelist(allowed()):
            job()


if __name__ == "__main__":
    main()
