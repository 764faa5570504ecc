"""``python -m data prepare|inspect|generate``: prepares a store, prints what is in it, writes a synthetic log."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from mdaf.errors import DataError
from mdaf.extras import require
from mdaf.messages.reporting import BEGINS_AGAIN, reported_in_one_line
from mdaf.naming.config_keys import check_keys
from mdaf.terminal import output
from mdaf.terminal.parser import Parser
from mdaf.terminal.programs import command

if TYPE_CHECKING:  # the modules that read logs take seconds to import, and --help does not need them
    from mdaf.data.synthetic import ClickLog, Synthetic

EVENTS, IMPRESSIONS = "events.csv", "impressions.csv"
_TASKS = {
    "prepare": "prepare the store, unless it is there, and print where it lies",
    "inspect": "prepare the store, unless it is there, and print what is in it",
    "generate": f"write a synthetic log as {EVENTS} and {IMPRESSIONS}",
}
_EPILOG = """\
overrides are Hydra's: data=NAME, one of
  {names}
and data.KEY=VALUE for its settings; all settings of one, with their values:
  {sweeper} data=NAME --cfg job --package data

  {data} prepare data=user_behavior data.path=UserBehavior.csv
  {data} inspect --html synthetic.html data=synthetic data.seed=1
  {data} generate --to runs/generated data=synthetic data.train_rows=100000
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns 0.

    SystemExit 2, after one line on stderr, for a mistake of the user; 75 if a signal ended the command, which then
    leaves nothing half written.
    """
    output.make_safe()
    with reported_in_one_line(BEGINS_AGAIN):
        options = _parser().parse_args(arguments)
        require("ctr", _parser().prog)
        _run(options, _compose(options.overrides, options.config_dir, options.config_name))
    return 0


def _run(options: argparse.Namespace, node: DictConfig) -> None:
    from mdaf.data.preparing.prepare import prepare_config
    from mdaf.terminal.progress import shown

    if options.command == "generate":
        _generate(node, Path(options.to))
        return
    with shown() as progress:
        store = prepare_config(node, progress, options.command == "inspect" and options.deep)
    if options.command == "prepare":
        print(store.folder)
        return
    from mdaf.data.inspecting.facts import inspect, show
    from mdaf.data.inspecting.page import write_page
    from mdaf.terminal import tables

    found = inspect(store)
    show(store, found, tables.console())
    if options.html:
        write_page(store, found, Path(options.html))
        print(options.html)


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    sweeper, data = (command(package) for package in ("sweeper", "data"))
    epilog = _EPILOG.format(names=", ".join(_sources()), sweeper=sweeper, data=data)
    parser = Parser(prog=data, epilog=epilog, formatter_class=raw)
    commands = parser.add_subparsers(dest="command", required=True, metavar="prepare|inspect|generate")
    for name, task in _TASKS.items():
        parsed = commands.add_parser(name, help=task, description=task, epilog=epilog, formatter_class=raw)
        parsed.add_argument("--config-dir", "-cd", metavar="FOLDER", help="of your own configs, beside the program's")
        parsed.add_argument("--config-name", "-cn", metavar="NAME", help="the config to start from instead of config")
        parsed.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="say data=synthetic data.seed=1")
        if name == "inspect":
            parsed.add_argument("--deep", action="store_true", help="verify every byte of the store first")
            parsed.add_argument("--html", metavar="FILE", help="write a page of plots too; it needs no network")
        if name == "generate":
            parsed.add_argument("--to", default="runs/generated", metavar="FOLDER", help="default: %(default)s")
    return parser


def _sources() -> list[str]:
    """The names of the data sources, which ``data=`` accepts."""
    from mdaf.conf import options

    return options.options_of("data")


def _compose(overrides: Sequence[str], config_dir: str | None = None, config_name: str | None = None) -> DictConfig:
    """Composes the config and returns its ``data`` node. Raises DataError if ``config_dir`` does not exist."""
    from mdaf import conf

    conf.register()
    if config_dir is not None and not Path(config_dir).is_dir():
        raise DataError(f"--config-dir {config_dir}: there is no such folder")
    own = [] if config_dir is None else [f"file://{Path(config_dir).absolute()}"]
    with hydra.initialize_config_search_path(["pkg://mdaf.conf", *own], job_name="data"):
        config = hydra.compose(config_name or "config", overrides=list(overrides))
    check_keys(config)
    return config.data


def _generate(node: DictConfig, folder: Path) -> None:
    from mdaf.data.preparing.source import source_from
    from mdaf.data.synthetic import Synthetic
    from mdaf.terminal.progress import shown

    source = source_from(node)
    if not isinstance(source, Synthetic):
        raise DataError(f"data={source.name} reads a log, it cannot generate one; use data=synthetic")
    try:
        with shown() as progress:
            events, impressions = _write_log(source.parts(progress), source, folder)
    except OSError as error:
        raise DataError(f"--to {folder}: cannot be written: {error.strerror or error}") from None
    print(f"{events:,} events and {impressions:,} impressions", file=sys.stderr)
    print(folder / EVENTS)
    print(folder / IMPRESSIONS)


def _write_log(parts: Iterable[ClickLog], source: Synthetic, folder: Path) -> tuple[int, int]:
    """Writes events and impressions to two files, and returns the number of each.

    Events have the format of UserBehavior.csv, so that ``data=user_behavior`` can prepare them. Impressions have a
    header, and columns for the split and for the true click probability. Raises DataError if a file exists already.
    """
    import polars as pl

    from mdaf.data.preparing.scratch import scratch
    from mdaf.data.store.event_store import SPLITS

    split = source.periods.split_of(pl.col("time")).cast(pl.Int64)
    for name in (EVENTS, IMPRESSIONS):
        if (folder / name).exists():
            raise DataError(f"--to {folder}: {name} is there already; give another folder, or delete it")
    events = impressions = 0
    with scratch(folder, "generated") as draft_folder:
        with (draft_folder / EVENTS).open("wb") as event_file, (draft_folder / IMPRESSIONS).open("wb") as sample_file:
            for part in parts:
                part.events.write_csv(event_file, include_header=False)
                named = part.impressions.with_columns(split=split.replace_strict(dict(enumerate(SPLITS))))
                named.write_csv(sample_file, include_header=not impressions)
                events, impressions = events + len(part.events), impressions + len(part.impressions)
        for name in (EVENTS, IMPRESSIONS):
            (draft_folder / name).replace(folder / name)
    return events, impressions


if __name__ == "__main__":
    sys.exit(main())
