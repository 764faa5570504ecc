"""Any set of finished runs as a report: runs that differ in their seed alone are one configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from mdaf.errors import UserError
from mdaf.multirun.analysis.figures import compute
from mdaf.multirun.analysis.report_data.content import Report
from mdaf.multirun.analysis.report_data.inputs import CONFIRMATION, PHASE_4, SEARCH, Change, Inputs, ReportPoint
from mdaf.multirun.analysis.report_data.sources import check_same_data, configuration_of
from mdaf.multirun.analysis.rows.scores import read_scores
from mdaf.multirun.analysis.wording import number
from mdaf.multirun.phase4.design import OF_THE_RESEARCH
from mdaf.multirun.phase4.known import SEARCHED
from mdaf.multirun.report.inputs import criteria_of, pairs, rules, source_of
from mdaf.multirun.report.rendering.printing import print_sections
from mdaf.multirun.report.sections.evidence import criteria
from mdaf.multirun.report.sections.results import results
from mdaf.multirun.report.sections.summary import findings
from mdaf.multirun.report.sections.verdict import verdict_section
from mdaf.multirun.report.writer import write_beside_others
from mdaf.sweeper.hydra_ext.run_config import is_hashed
from mdaf.sweeper.job.criteria import are_meant, is_the_research
from mdaf.sweeper.job.trained_run import config_of
from mdaf.sweeper.runs.reader import IDENTITY, read_run
from mdaf.sweeper.runs.test_reads import reads_of_test

LONGEST_NAME = 80  # characters; a configuration that would need more goes by its hash


def summary(folders: Sequence[Path], out: Path | None) -> Report:
    """The report of these runs, written to ``out`` if that is given. UserError where there is nothing to summarize.

    Where ``out`` holds the report of others, that stays: it goes beside it.
    """
    runs = finished_below(folders)
    inputs = summary_inputs(runs, out or Path.cwd())
    if out is not None:
        _, report = write_beside_others(out, lambda folder: summary_inputs(runs, folder), reads_of_test(out))
        return report
    return Report(title=inputs.title, inputs=inputs, figures=compute(inputs, Path.cwd()), test_reads=[])


def finished_below(folders: Sequence[Path]) -> list[Path]:
    """The run folders among these and below them, each once, in order."""
    found: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder, expected one of a finished run, or one that holds some")
        inside = [file.parent for file in sorted(folder.rglob("result.json"))]
        if not inside:
            raise UserError(f"{folder}: holds no result.json, expected a finished run, or folders of some")
        found |= {one.resolve(): one for one in inside if read_run(one).is_complete}
    if not found:
        raise UserError(f"{folders[0]}: holds no complete run; pruned and failed ones cannot be summarized")
    return list(found.values())


def summary_inputs(folders: Sequence[Path], report: Path) -> Inputs:
    """The inputs of a report on these runs; configurations are named by the settings in which they differ."""
    groups, configs = _grouped(folders)
    changes = _changes(configs)
    names = _names(configs, changes)
    sources = [
        source_of(folder, PHASE_4, names[key], report, read_run(folder).result.get("study"), None)
        for key, seeds in groups.items()
        for seed, folder in sorted(seeds.items())
    ]
    first = next(iter(configs.values()))
    with initialize_config_module("mdaf.conf"):
        phase4 = compose("phase4")
    return Inputs(
        title=f"{len(sources)} finished runs of {len(groups)} configurations",
        study=None,
        winner=None,
        winner_trial=None,
        points=[ReportPoint(names[key], None, [], _values(config)) for key, config in configs.items()],
        changes=[Change(change.key, {names[key]: value for key, value in change.values.items()}) for change in changes],
        candidates=[],
        comparisons=pairs(list(names.values())),
        epochs=max(config.training.epochs for config in configs.values()),
        seeds={SEARCH: [], CONFIRMATION: [], PHASE_4: _planned(groups, list(OF_THE_RESEARCH))},
        failed={},
        trials=[],
        criteria=criteria_of(first),
        judged=are_meant(first),
        research=all(map(is_the_research, configs.values())),
        **rules(phase4),
        runs=sources,
        rows="test" if all(read_scores(folder, "test") is not None for folder in folders) else "validation",
    )


def _grouped(folders: Sequence[Path]) -> tuple[dict[str, dict[int, Path]], dict[str, DictConfig]]:
    """The runs by configuration and seed, and the configurations. UserError if one has a run twice."""
    groups: dict[str, dict[int, Path]] = {}
    configs: dict[str, DictConfig] = {}
    data: dict[str, Path] = {}
    for folder in folders:
        run = read_run(folder, IDENTITY)
        data.setdefault(run.result["data_hash"], folder)
        check_same_data(data)
        config = config_of(run)
        configs.setdefault(key := configuration_of(config), config)
        seeds = groups.setdefault(key, {})
        seed = run.result["seed"]
        if seed in seeds:
            raise UserError(
                f"{folder}: repeats the configuration and seed {seed} of {seeds[seed]}; leave one of them out"
            )
        seeds[seed] = folder
    return groups, configs


def _planned(groups: Mapping[str, Mapping[int, Path]], phase4: list[int]) -> list[int]:
    """Phase 4's seeds if the runs are a part of it, else those that are there."""
    found = sorted({seed for seeds in groups.values() for seed in seeds})
    return phase4 if set(found) <= set(phase4) else found


def _values(config: DictConfig) -> dict[str, float]:
    found = {key: OmegaConf.select(config, key) for key in SEARCHED}
    return {key: float(value) for key, value in found.items() if value is not None}


def _changes(configs: Mapping[str, DictConfig]) -> list[Change]:
    """The keys in which saved configs differ, what does not change the computation left out."""
    flat = {key: _flat(OmegaConf.to_container(config, resolve=True)) for key, config in configs.items()}
    names = sorted({name for values in flat.values() for name in values})
    rows = [Change(name, {key: values.get(name) for key, values in flat.items()}) for name in names]
    return [
        row
        for row in rows
        if len({repr(value) for value in row.values.values()}) > 1 and row.key != "seed" and is_hashed(row.key)
    ]


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in node.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _names(configs: Mapping[str, DictConfig], changes: Sequence[Change]) -> dict[str, str]:
    """A name for each: its regularization's if these differ, else the settings in which it differs, else its hash."""
    presets = {key: str(OmegaConf.select(config, "regularization.name")) for key, config in configs.items()}
    if len(set(presets.values())) == len(configs):
        return presets
    names = {
        key: ", ".join(f"{row.key.rpartition('.')[2]} {number(row.values[key])}" for row in changes) for key in configs
    }
    readable = len(set(names.values())) == len(names) and all(len(name) <= LONGEST_NAME for name in names.values())
    return names if readable else {key: key for key in configs}


def show(report: Report, console: Console | None = None, folder: Path | None = None) -> None:
    """Prints a report's verdict, findings, results, and its criteria where it has some."""
    judged = [criteria(report)] if report.figures.criteria else []
    print_sections([verdict_section(report, folder), findings(report), results(report), *judged], console)
