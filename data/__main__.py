"""``python -m data prepare|inspect|generate``: raw logs to a prepared store; what is in it; made-up logs."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hydra
import polars as pl
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from data.errors import DataError, one_line
from data.inspection import show
from data.prepare import prepare_config
from data.source import Progress, source_from
from data.store import SPLITS
from data.synthetic import ClickLog, Synthetic

EVENTS, IMPRESSIONS = "events.csv", "impressions.csv"
_EPILOG = """\
overrides are Hydra's, of the group `data`:
  python -m data prepare data=user_behavior data.path=UserBehavior.csv
  python -m data inspect data=synthetic data.seed=1
  python -m data generate --to runs/generated data=synthetic data.train_rows=100000
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; 0, or 2 after one line on stderr where something that the user gave cannot be used."""
    options = _parser().parse_args(arguments)
    console = Console(stderr=True)
    try:
        node = _compose(options.overrides)
        if options.command == "generate":
            _generate(node, Path(options.to), console)
        else:
            with _bar(console) as progress:
                store = prepare_config(node, progress)
            if options.command == "inspect":
                show(store, Console())
            else:
                print(store.folder)
    except (DataError, HydraException, OmegaConfBaseException) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data", epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="prepare|inspect|generate")
    commands.add_parser("prepare", help="prepare the store, unless it is there, and print where it lies")
    commands.add_parser("inspect", help="prepare the store, unless it is there, and print what is in it")
    generate = commands.add_parser("generate", help=f"write a synthetic log as {EVENTS} and {IMPRESSIONS}")
    generate.add_argument("--to", default="runs/generated", metavar="FOLDER", help="default: %(default)s")
    for command in commands.choices.values():
        command.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="Hydra overrides")
    return parser


def _compose(overrides: Sequence[str]) -> DictConfig:
    """The config's ``data`` node."""
    import conf

    conf.register()
    with hydra.initialize_config_module("conf", job_name="data"):
        return hydra.compose("config", overrides=list(overrides)).data


@contextmanager
def _bar(console: Console) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=1.0)

        def progress(step: str, share: float) -> None:
            bar.update(task, description=step, completed=share)

        yield progress


def _generate(node: DictConfig, folder: Path, console: Console) -> None:
    source = source_from(node)
    if not isinstance(source, Synthetic):
        raise DataError(f"data={source.name} reads a log, it cannot generate one; use data=synthetic")
    with _bar(console) as progress:
        log = source.generate(progress)
    try:
        _write_log(log, source, folder)
    except OSError as error:
        raise DataError(f"--to {folder}: cannot be written: {error.strerror}") from None
    console.print(f"{len(log.events):,} events and {len(log.impressions):,} impressions")
    print(folder / EVENTS)
    print(folder / IMPRESSIONS)


def _write_log(log: ClickLog, source: Synthetic, folder: Path) -> None:
    """Events in the format of UserBehavior.csv, so that ``data=user_behavior`` prepares them; impressions with a
    header, their split and their true click probability."""
    time, periods = pl.col("time"), source.periods
    train, validation, test = (pl.lit(split) for split in SPLITS)
    late = pl.when(time < periods.test).then(validation).otherwise(test)
    split = pl.when(time < periods.validation).then(train).otherwise(late)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        log.events.write_csv(Path(aside) / EVENTS, include_header=False)
        log.impressions.with_columns(split=split).write_csv(Path(aside) / IMPRESSIONS)
        for name in (EVENTS, IMPRESSIONS):
            (Path(aside) / name).replace(folder / name)


if __name__ == "__main__":
    sys.exit(main())
