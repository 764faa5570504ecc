"""The report of made-up runs: what stands in it, and that it holds against the run folders."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from mdaf import conf
from mdaf.errors import UserError
from mdaf.multirun.analysis.report_data.content import Report
from mdaf.multirun.analysis.statistics import spread
from mdaf.multirun.report.inputs import rules
from mdaf.multirun.report.rendering import charts, pages, pictures
from mdaf.multirun.report.rendering.blocks import Chart, Section, Table, every
from mdaf.multirun.report.sections.order import sections
from mdaf.multirun.report.summarize import summary, summary_inputs
from mdaf.multirun.report.verify import verify
from mdaf.multirun.report.writer import markdown, page, write_report
from mdaf.sweeper.job.criteria import are_meant, is_the_research
from tests.multirun.fakes import history, write_run
from tests.processes import ROOT
from tests.sweeper.tiny import TINY, composed

VALUES = {
    "weak": {42: 0.7001, 123: 0.7042, 456: 0.6990},
    "balanced": {42: 0.7203, 123: 0.7238, 456: 0.7190},
    "strong": {42: 0.7205, 123: 0.7232, 456: 0.7195},
}
SEPARATION = {"weak": 0.2, "balanced": 1.5, "strong": 1.5}  # of the scores: what the test rows say


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three configurations on three seeds each."""
    conf.register()
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, seeds in VALUES.items():
            for seed, value in seeds.items():
                config = composed(f"regularization={name}", f"seed={seed}", "criteria.min_val_auc=0.7")
                write_run(folder / name / f"seed-{seed}", config, history(value), separation=SEPARATION[name])
        yield folder


class Head(NamedTuple):
    """What stands above a page."""

    title: str
    written: str
    commit: str | None


@pytest.fixture(scope="module")
def report(runs: Path) -> dict[str, Any]:
    return summary([runs], runs / "report").to_json()


def test_runs_that_differ_in_their_seed_alone_are_one_configuration(report: dict[str, Any]) -> None:
    found = report["figures"]["configurations"]
    assert {name: block["seeds"] for name, block in found.items()} == {name: [42, 123, 456] for name in found}
    assert set(found) == set(VALUES)
    assert found["weak"]["figures"]["val_auc"]["mean"] == pytest.approx(sum(VALUES["weak"].values()) / 3)


def test_a_difference_on_every_seed_is_better_and_none_is_indistinguishable(report: dict[str, Any]) -> None:
    rows = {frozenset((row["a"], row["b"])): row for row in report["figures"]["comparisons"]}
    # These two score the test rows alike, whatever the validation rows say.
    alike = rows[frozenset(("balanced", "strong"))]
    assert (alike["verdict"], alike["mean"]) == ("indistinguishable", 0.0)
    assert alike["validation"]["mean"] != 0.0
    weak = rows[frozenset(("balanced", "weak"))]
    assert weak["holm_p"] < 0.05
    assert weak["permutation_floor"] == 0.25
    assert weak["verdict"] == ("better" if weak["a"] == "balanced" else "worse")


def test_it_is_decided_on_the_test_rows_and_said_first(report: dict[str, Any]) -> None:
    assert report["inputs"]["rows"] == "test"
    lines = [line for line in markdown(Report.from_json(report)).partition("## Verdict")[2].splitlines() if line]
    assert lines[0] == "**weak is behind another configuration; no difference is shown between balanced and strong.**"
    assert lines[1].startswith("- The runs that are compared: 9 runs of commit")  # what qualifies all that follows
    assert lines[2].startswith("3 comparisons of configurations, decided on test rows. Over all of them together a")


def test_three_seeds_have_no_bootstrap_interval_and_five_have_one(report: dict[str, Any]) -> None:
    assert report["figures"]["configurations"]["weak"]["figures"]["val_auc"]["bootstrap_interval"] is None
    text = markdown(Report.from_json(report))
    assert "| val_auc | seeds | mean | sd | t interval" in text
    assert "| bootstrap interval" not in text
    sample = list(np.random.default_rng(1).normal(size=5))
    assert spread(sample[:4], np.random.default_rng(1)).bootstrap_interval is None
    assert spread(sample, np.random.default_rng(1)).bootstrap_interval is not None


def test_tests_on_rows_are_adjusted_and_the_seeds_correlation_is_shown(report: dict[str, Any]) -> None:
    rows = report["figures"]["comparisons"]
    tests = [one for row in rows for one in row["delong"].values()]
    assert len(tests) == 9
    assert all(one["holm_p"] >= one["p"] for one in tests)
    assert max(one["holm_p"] / one["p"] for one in tests if one["holm_p"] < 1) > 2
    assert all(-1 <= row["seed_correlation"] <= 1 for row in rows)
    assert "correlation of seeds" in markdown(Report.from_json(report))


def test_calibration_stands_beside_auc(report: dict[str, Any]) -> None:
    text = markdown(Report.from_json(report))
    assert re.search(
        r"weak: validation AUC .*, log loss 0\.\d+, ECE 0\.\d+; on the test split AUC .*, log loss .*, ECE", text
    )
    assert "| test_ece | seeds | mean |" in text


def test_the_phases_are_named_for_their_regularization_alone_and_where_the_research_is_repeated(
    report: dict[str, Any],
) -> None:
    text = markdown(Report.from_json(report))
    assert "| weak | 3 | 0.7011 |" in text
    assert "Phase 1" not in text
    assert "Phase 3" not in text
    assert "the research" not in text.partition("\n## Criteria\n")[0]
    theirs = json.loads(json.dumps(report))
    theirs["inputs"]["research"] = True
    text = markdown(Report.from_json(theirs))
    assert "stand for the regularization of Phase 1, Phase 3 and Phase 3 Revised, and for nothing else" in text
    assert "its Phase 3 a learning rate of 0.0003 and 15 epochs" in text
    assert "so is tier 1.5; tiers 1, 2 and 3 come from its other notes" in text


def test_the_research_is_its_own_model_on_its_own_data() -> None:
    def repeats(*overrides: str) -> bool:
        return is_the_research(composed(*overrides, tiny=("data.path=folder",)))

    assert repeats("data=taobao_ad")
    assert repeats("data=taobao_ad_joined", "experiment=phase3_revised")
    assert not repeats("data=taobao_ad", "model=din")
    assert not repeats("data=taobao_ad", "model=mdaf_bst")
    assert not repeats("data=user_behavior")


def test_every_figure_names_its_runs_and_each_run_its_origin(report: dict[str, Any]) -> None:
    known = {run["id"]: run for run in report["inputs"]["runs"]}
    for run in known.values():
        assert set(run) >= {"study", "trial", "folder", "config_hash", "data_hash", "commit", "seed"}
        assert run["config_hash"]
    figures = report["figures"]
    blocks = [*figures["configurations"].values(), *figures["comparisons"], *figures["deltas"], *figures["ranking"]]
    blocks += [*figures["criteria"].values(), figures["evidence"]]
    assert all(block["from"] and set(block["from"]) <= set(known) for block in blocks)
    assert set(figures["runs"]) == set(known)


def test_a_report_holds_against_its_runs(runs: Path, report: dict[str, Any]) -> None:
    assert verify(runs / "report/report.json") == []


@pytest.mark.parametrize("column", ["val_auc", "epoch_seconds", "batch_ms_p99"])
def test_one_changed_digit_in_one_metrics_csv_is_named(runs: Path, report: dict[str, Any], column: str) -> None:
    file = runs / "strong/seed-123/metrics.csv"
    kept = file.read_text()
    header, first, second = kept.splitlines()
    cells = second.split(",")
    place = header.split(",").index(column)
    cells[place] = cells[place][:-1] + str((int(cells[place][-1]) + 1) % 10)
    file.write_text("\n".join([header, first, ",".join(cells)]) + "\n")
    try:
        named = [str(difference) for difference in verify(runs / "report/report.json")]
    finally:
        file.write_text(kept)
    assert any(line.startswith(f"runs.phase 4/strong/seed-123.history[1].{column}: the report says") for line in named)
    assert (column == "val_auc") == any("configurations.strong.figures.val_auc.mean" in line for line in named)
    assert not any("seed-42" in line for line in named)


def test_a_changed_figure_in_the_report_is_named(runs: Path, report: dict[str, Any], tmp_path: Path) -> None:
    changed = json.loads((runs / "report/report.json").read_text())
    changed["figures"]["comparisons"][0]["mean"] += 1e-6
    file = runs / "report/changed.json"
    file.write_text(json.dumps(changed))
    assert [difference.figure for difference in verify(file)] == ["comparisons[0].mean"]


def test_a_run_that_is_gone_or_another_one_is_an_error_or_named(runs: Path, report: dict[str, Any]) -> None:
    file = runs / "weak/seed-42/result.json"
    kept = file.read_text()
    try:
        file.write_text(json.dumps(json.loads(kept) | {"commit": "d" * 40}))
        assert [d.figure for d in verify(runs / "report/report.json")] == ["inputs.runs.phase 4/weak/seed-42.commit"]
        file.unlink()
        with pytest.raises(UserError, match=r"weak/seed-42: holds no result\.json"):
            verify(runs / "report/report.json")
    finally:
        file.write_text(kept)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), ("{", "damaged"), ("{}", "holds no figures"), ('{"format": 0}', "holds no figures")],
)
def test_what_is_no_report_is_refused_in_one_line(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "report.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=message):
        verify(file)


def test_the_page_holds_plotly_once_and_asks_for_nothing_else(runs: Path, report: dict[str, Any]) -> None:
    html = (runs / "report/report.html").read_text()
    assert html.count("* plotly.js v") == 1
    outside = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    assert not re.findall(r"(?:src|href)=\"(?!#|data:)", outside)
    assert 'name="viewport" content="width=device-width' in html
    for name in ("pairs", "spreads", "curves", "gates", "times"):
        assert f'id="chart-{name}"' in html


def test_what_users_wrote_is_escaped(report: dict[str, Any]) -> None:
    named = json.loads(json.dumps(report).replace("weak", "<b>a|b</b>"))
    html, text = page(Report.from_json(named)), markdown(Report.from_json(named))
    assert "&lt;b&gt;a|b&lt;/b&gt;" in html
    assert "<td><b>" not in html
    assert "\\<b>a\\|b\\</b> |" in text


def test_the_verdict_comes_first_then_the_evidence_then_what_is_folded_away(report: dict[str, Any]) -> None:
    assert [section.title for section in sections(Report.from_json(report))] == [
        "Verdict",
        "Findings",
        "Results",
        "Configuration and changes",
        "Comparison against weak and strong",
        "Criteria",
        "Infrastructure",
        "Statistical validity",
        "Artifacts",
    ]


def test_what_the_splits_of_the_data_promise_is_said_where_runs_know_it(report: dict[str, Any]) -> None:
    known, unknown = json.loads(json.dumps(report)), json.loads(json.dumps(report))
    for one in known["inputs"]["runs"]:
        one["splits"] = "no user is in two splits"
    for one in unknown["inputs"]["runs"]:
        del one["splits"]
    assert "\nSplits: no user is in two splits.\n" in markdown(Report.from_json(known))
    assert "Splits:" not in markdown(Report.from_json(unknown))


def test_every_row_of_a_table_has_a_cell_for_each_heading(report: dict[str, Any]) -> None:
    tables = [
        block
        for section in sections(Report.from_json(report))
        for block in every(section.blocks)
        if isinstance(block, Table)
    ]
    assert len(tables) > 10
    for table in tables:
        assert {len(row) for row in table.rows} <= {len(table.header)}, table.header


def test_the_text_has_the_charts_captions_and_every_table(report: dict[str, Any]) -> None:
    text = markdown(Report.from_json(report))
    for section in sections(Report.from_json(report)):
        assert f"## {section.title}" in text
        for block in every(section.blocks):
            if isinstance(block, Chart):
                assert f"Chart in report.html: {block.caption}" in text


def test_a_model_without_a_gate_has_no_gate_chart_and_no_column_of_it(tmp_path: Path, runs: Path) -> None:
    without = dict.fromkeys(("gate_mean", "gate_std", "gate_median", "gate_min", "gate_max"))
    rows = [row | without for row in history(0.7)]
    write_run(tmp_path / "one", composed("regularization=weak", tiny=TINY), rows)
    found = summary([tmp_path], tmp_path / "report")
    html = page(found)
    assert 'id="chart-gates"' not in html
    [heading] = [line for line in markdown(found).splitlines() if line.startswith("| mean of | val_auc |")]
    assert "gate" not in heading
    assert "Nothing to draw: Share of the static branch" in html


def test_the_same_configuration_and_seed_twice_is_refused(runs: Path, tmp_path: Path) -> None:
    config = composed("regularization=weak", "seed=42")
    twice = [write_run(tmp_path / name, config, history(0.7)) for name in ("a", "b")]
    with pytest.raises(UserError, match="repeats the configuration and seed 42"):
        summary_inputs(twice, tmp_path)


def test_a_folder_without_finished_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no result.json, expected a finished run"):
        summary([tmp_path], None)
    with pytest.raises(UserError, match="no such folder"):
        summary([tmp_path / "absent"], None)


def test_the_rules_of_a_summary_are_those_of_phase_4() -> None:
    conf.register()
    with initialize_config_module("mdaf.conf"):
        assert rules(compose("phase4"))["alpha"] == 0.05


def test_nothing_is_written_where_no_folder_is_named(runs: Path, tmp_path: Path) -> None:
    before = sorted(runs.rglob("*"))
    found = summary([runs / "weak"], None)
    assert sorted(runs.rglob("*")) == before
    assert found.figures.comparisons == []
    written = write_report(tmp_path, summary_inputs([runs / "weak/seed-42"], tmp_path), [])
    assert written.figures.evidence.verdict == "statistically insufficient"


def test_criteria_are_those_of_the_research_or_configured_and_elsewhere_there_are_none(
    report: dict[str, Any], tmp_path: Path
) -> None:
    assert "\n## Criteria\n" in markdown(Report.from_json(report))  # these runs have a target of their own
    write_run(tmp_path / "one", composed("regularization=weak"), history(0.7))
    without = markdown(summary([tmp_path], tmp_path / "report"))
    assert "riteria" not in without
    assert verify(tmp_path / "report/report.json") == []
    assert are_meant(composed("data=taobao_ad", "data.path=folder"))
    small = composed("data=user_behavior", "data.path=UserBehavior.csv", "experiment=small")
    assert not are_meant(small)  # a next click, not the research's clicks on ads; and a preset, not a user's choice
    small.criteria.min_val_auc = 0.86
    assert are_meant(small)


def test_no_preset_sets_criteria() -> None:
    """Whether criteria differ from the defaults says that a user chose them, so nothing of ours may change them."""
    own = [path for path in (ROOT / "conf").rglob("*.yaml") if "criteria" in OmegaConf.load(path)]
    assert [path.name for path in own] == ["config.yaml"]


def test_a_report_that_says_nothing_of_criteria_was_judged_by_them_and_holds_still(
    runs: Path, report: dict[str, Any]
) -> None:
    older = json.loads((runs / "report/report.json").read_text())
    del older["inputs"]["judged"]
    file = runs / "report/older.json"
    file.write_text(json.dumps(older))
    assert older["figures"]["criteria"]
    assert verify(file) == []


def test_the_verdict_has_the_line_that_deploys_and_its_run_is_there(tmp_path: Path, runs: Path) -> None:
    folder = runs / "two"
    found = summary([runs / "weak", runs / "strong"], folder)
    assert next(line for line in markdown(found, folder).splitlines() if line.startswith("**")) == (
        "**strong is better than weak.**"
    )
    [line] = re.findall(r"^mdaf export (\S+) --out strong-model$", markdown(found, folder), flags=re.MULTILINE)
    assert (Path(line) / "best.pt").is_file()
    assert Path(line).name == "seed-123"  # the best of its seeds
    assert f">mdaf export {line} --out strong-model</pre>" in page(found, folder)


def test_no_interval_of_an_auc_goes_beyond_one(tmp_path: Path) -> None:
    for seed, value in ((42, 0.999), (123, 0.95)):
        write_run(tmp_path / str(seed), composed("regularization=weak", f"seed={seed}"), history(value))
    found = summary([tmp_path], tmp_path / "report")
    assert found.figures.configurations["weak"].figures["val_auc"].t_interval[1] > 1  # as it is computed
    ends = re.findall(r"\[(-?[\d.]+), ([\d.]+)\]", markdown(found).partition("| test_loss | seeds")[0])
    assert ends
    assert all(float(low) >= 0 and float(high) <= 1 for low, high in ends)


def test_a_page_can_be_read_with_a_keyboard_and_a_screen_reader(runs: Path, report: dict[str, Any]) -> None:
    body = re.sub(r"<script>.*?</script>", "", (runs / "report/report.html").read_text(), flags=re.DOTALL)
    levels = [int(level) for level in re.findall(r"<h(\d)", body)]
    assert levels[:2] == [1, 2]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert '<a class="skip" href="#content">' in body
    assert body.count("<main") == body.count("<nav") == body.count("<header") == 1
    assert body.count("<table") == body.count("<caption") > 10
    assert not re.findall(r"<th(?! scope=|ead)", body)
    assert body.count('role="img" aria-label="') == body.count("<figure")
    assert body.count('<details class="part"') == 6


def test_the_contents_of_a_page_lead_to_each_section_below_the_verdict(runs: Path, report: dict[str, Any]) -> None:
    contents = re.search(r"<nav.*?</nav>", (runs / "report/report.html").read_text(), flags=re.DOTALL)
    assert contents is not None
    found = sections(Report.from_json(report))
    assert re.findall(r'<a href="#(.*?)">', contents[0]) == [section.anchor for section in found[1:]]


def test_the_numbers_beside_a_picture_have_the_same_digits_and_enough_of_them() -> None:
    rows = {"a": ((0.88, 0.9), 0.8922, (0.882, 0.9024)), "b": ((0.89,), 0.89063, (0.88204, 0.8992))}
    rows["alone"] = ((0.5,), 0.5, None)
    drawn = pictures.spreads(rows, "AUC", {})
    assert drawn is not None
    assert re.findall(r'<text class="figures"[^>]*>([^<]*)<', drawn) == [
        "0.8922 [0.8820, 0.9024]",
        "0.8906 [0.8820, 0.8992]",
        "0.5000",
    ]


def test_in_a_table_numbers_that_are_only_bounded_are_numbers_and_configurations_have_their_dot() -> None:
    head = Head("A title", "now", None)
    table = Table(["rank", "p", "winner"], [["winner (of Phase 1)", "0.0102", "1"], ["b", "< 0.0001", "2"]])
    html = pages.page(head, [Section("One", [table])], {}, {"winner": "#123456"})
    assert '<th scope="col" class="number">p</th>' in html
    assert '<td class="number">&lt; 0.0001</td>' in html
    dot = '<span class="dot" style="--c:#123456"></span>'
    assert [html.count(f"{dot}{name}") for name in ("winner</th>", "winner (of Phase 1)</th>")] == [1, 1]


def test_a_configuration_has_one_colour_in_all_charts(runs: Path, report: dict[str, Any]) -> None:
    found = Report.from_json(report)
    colours = charts.colours(found)
    assert len({*colours.values()}) == len(colours) == 3
    lines = {trace.name: trace.line.color for trace in charts.curves(found).data if trace.name}
    assert lines == colours
    spread = charts.spread(found)
    assert [spread.count(f"--c:{colour}") for colour in colours.values()] == [1, 1, 1]


def test_a_configuration_below_the_best_trivial_rule_is_named_at_the_verdict(runs: Path, tmp_path: Path) -> None:
    kept = {}
    for seed in VALUES["weak"]:
        file = runs / f"weak/seed-{seed}/result.json"
        kept[file] = file.read_text()
        rule = {"rule": "category recency", "val_auc": 0.86}
        file.write_text(json.dumps(json.loads(kept[file]) | {"trivial_rule": rule}))
    try:
        found = summary([runs / "weak", runs / "strong"], tmp_path)
        assert verify(tmp_path / "report.json") == []
        said = "weak: validation AUC 0.70, below 0.86 that recency of category reaches: not learning yet."
        assert said in markdown(found).partition("## Findings")[0]
    finally:
        for file, text in kept.items():
            file.write_text(text)
    assert any("trivial_rule" in difference.figure for difference in verify(tmp_path / "report.json"))
