"""Phase 4 as one question that is looked at: from a study to its report, with training replaced by made-up figures."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig

from mdaf import conf
from mdaf.errors import UserError
from mdaf.multirun.analysis.looks.power import detectable_effect
from mdaf.multirun.analysis.statistics import combined_interval
from mdaf.multirun.phase4 import plan as phase4
from mdaf.multirun.pipeline import decide
from mdaf.multirun.report import writer
from mdaf.multirun.report.verify import verify
from tests.multirun.fakes import WIDE, Trainer, make_study, noisy, settings

FEW = ("design=sequential", "confirm.top=0")
PHASE_4 = [42, 123, 456, 789, 2024, 3001, 3002, 3003, 3004, 3005]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stores: Path) -> Path:
    """A working directory with a study; the store that its runs name is prepared once for all tests."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    os.symlink(stores, tmp_path / "runs/stores")
    monkeypatch.setattr(writer, "CHARTS", {})  # the writer's own tests draw them
    conf.register()
    make_study(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stores")


def winner_ahead(config: DictConfig) -> float:
    """The winner, whose dropout is .22, ranks the test rows much better on every seed."""
    return 2.5 if config.regularization.dropout == 0.22 else 0.3


def winner_behind(config: DictConfig) -> float:
    """The winner is ahead on every other seed, and a little behind on average."""
    if config.regularization.dropout != 0.22:
        return 1.0
    return 1.0 + (0.5 if PHASE_4.index(config.seed) % 2 else -0.6)


def train(
    monkeypatch: pytest.MonkeyPatch, separation: Callable[[DictConfig], float] = winner_ahead, **options: Any
) -> Trainer:
    trainer = Trainer(noisy, separation=separation, **options)
    monkeypatch.setattr(phase4, "launch", trainer)
    return trainer


def report_of(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def summary_of(folder: Path) -> str:
    return (folder / "report.md").read_text().partition("## Verdict")[2].partition("\n## Results")[0]


def text_of(folder: Path) -> str:
    return (folder / "report.md").read_text()


def test_a_clear_answer_stops_at_the_first_look_and_is_deployed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = train(monkeypatch)
    folder = decide(settings(here, *FEW))
    decision = report_of(folder)["figures"]["decision"]
    assert (decision["rows"], decision["verdict"], decision["stop"]) == ("test", "better", "verdict")
    assert decision["deploy"] == "winner"
    assert trainer.trained == [(point, seed) for point in ("trial-3", "balanced") for seed in PHASE_4[:4]]
    text = summary_of(folder)
    assert text.strip().startswith("**winner is better than balanced.**")
    assert "Decided on test rows: the mean difference in AUC is +" in text
    assert (
        "4 looks planned, after 4, 6, 8 and 10 pairs of seeds; all of them together have a two-sided error of" in text
    )
    assert "It took 12 runs: 4 of the search, 0 of confirmation, 8 of Phase 4." in text
    assert verify(folder / "report.json") == []


def test_one_difference_has_one_interval_which_holds_over_all_looks(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(monkeypatch)
    folder = decide(settings(here, *FEW, "points=[winner,balanced,weak]"))
    figures = report_of(folder)["figures"]
    question, weak = figures["comparisons"]
    assert question["interval"] == pytest.approx(figures["decision"]["looks"][-1]["interval"])
    values = [weak["by_seed"][str(seed)] for seed in weak["seeds"]]
    level = 1 - figures["decision"]["level"]
    assert weak["interval"] == pytest.approx(combined_interval(np.array(values), weak["users_error"], level))
    assert summary_of(folder).count("95 % interval over all looks [") == 2
    assert f"by {100 * figures['decision']['exaggeration']:.0f} % on average, a smaller one by more" in text_of(folder)


def test_what_the_search_chose_beside_the_regularization_is_said_first(
    tmp_path_factory: pytest.TempPathFactory, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("wide")
    monkeypatch.chdir(folder)
    (folder / "runs").mkdir()
    os.symlink(stores, folder / "runs/stores")
    make_study(folder, space=WIDE)
    train(monkeypatch)
    text = summary_of(decide(settings(folder, *FEW)))
    assert "The search chose training.learning_rate 0.001 as well." in text
    assert "balanced is not what there was before the search" in text


def test_a_winner_that_is_not_ahead_is_given_up_at_six_pairs_and_balanced_stays(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = train(monkeypatch, winner_behind)
    folder = decide(settings(here, *FEW))
    report = report_of(folder)
    decision = report["figures"]["decision"]
    assert [(look["n"], look.get("stop")) for look in decision["looks"]] == [(4, None), (6, "futility")]
    assert (decision["verdict"], decision["deploy"]) == ("indistinguishable", "balanced")
    assert len(trainer.trained) == 12
    assert report["figures"]["evidence"]["seeds_planned"] == 6
    assert "Deploy balanced: it stays unless the verdict says that winner is better." in summary_of(folder)
    # Futility is not binding: who wants to know goes on, and nothing is repeated.
    longer = decide(settings(here, *FEW, "futility=null"))
    assert longer == folder
    assert [look["n"] for look in report_of(longer)["figures"]["decision"]["looks"]] == [4, 6, 8, 10]
    assert len(trainer.trained) == len(set(trainer.trained)) == 20
    assert decide(settings(here, *FEW)) == folder  # looks that were made are not taken back
    assert [look["n"] for look in report_of(folder)["figures"]["decision"]["looks"]] == [4, 6, 8, 10]
    assert verify(folder / "report.json") == []


def test_runs_of_an_earlier_command_are_taken_and_a_look_is_made_once(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = train(monkeypatch)
    first = decide(settings(here, *FEW))
    made = (here / "phase4/made-up/looks.jsonl").read_text()
    capsys.readouterr()
    assert decide(settings(here, *FEW, "ask=true")) == first  # nobody is asked: nothing is missing
    assert "8 runs of 2 epochs, 8 are there already" in capsys.readouterr().out
    assert (here / "phase4/made-up/looks.jsonl").read_text() == made
    assert len(trainer.trained) == 8


@pytest.mark.parametrize("budget", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_an_interrupted_command_goes_on_and_looks_no_more_often(
    here: Path, monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    trainer = train(monkeypatch, winner_behind)
    for _ in range(20):
        trainer.budget = budget
        try:
            folder = decide(settings(here, *FEW))
            break
        except KeyboardInterrupt:
            continue
    assert len(trainer.trained) == len(set(trainer.trained)) == 12
    looks = [json.loads(line) for line in (here / "phase4/made-up/looks.jsonl").read_text().splitlines()]
    assert [look["look"] for look in looks] == [4, 6]
    assert verify(folder / "report.json") == []


def test_another_plan_after_a_look_is_refused_and_shown_where_it_is_forced(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = train(monkeypatch, winner_behind)
    decide(settings(here, *FEW))
    before = len(trainer.trained)
    for change in ("looks=[4,6,7,8,9,10]", "alpha=0.2", "seeds=[3001,3002,3003,3004]", "margin=0.1", "test=false"):
        changed = [change, "looks=[4]"] if change.startswith("seeds") else [change]
        with pytest.raises(
            UserError, match=r"were looked at with looks=\[4,6,8,10\] alpha=0.05 seeds=\[42,.*force=true"
        ):
            decide(settings(here, *FEW, *changed))
    assert len(trainer.trained) == before
    folder = decide(settings(here, *FEW, "looks=[5,7]", "force=true"))
    first = summary_of(folder).strip().splitlines()
    assert any("The plan of looks was changed with force=true" in line for line in first[:6])
    assert "looks=[4,6,8,10] alpha=0.05" in summary_of(folder)


def test_another_folder_is_no_way_to_look_anew(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train(monkeypatch, winner_behind)
    decide(settings(here, *FEW, f"folder={here}/runs/first"))
    (here / "runs/damaged").mkdir()
    (here / "runs/damaged/looks.jsonl").write_text("{}")
    anew = [*FEW, "looks=[4,8]", f"folder={here}/runs/second"]
    with pytest.raises(UserError, match=r"were looked at with looks=\[4,6,8,10\] .* before"):
        decide(settings(here, *anew))
    folder = decide(settings(here, *anew, "force=true"))
    assert "the same question was looked at before with looks=[4,6,8,10]" in summary_of(folder)
    assert "The test split was not read for this report: its runs had been scored before." in text_of(folder)


def test_what_force_and_changed_epochs_did_is_said_first_and_other_questions_are_shown(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(monkeypatch)
    decide(settings(here, *FEW))
    folder = decide(settings(here, *FEW, "epochs=3", "force=true"))
    text = summary_of(folder)
    assert "The runs that are compared have 3 epochs, the study's trials had 2" in text
    assert "It was started with force=true although it lacked a complete run" in text
    assert text.index("force=true") < text.index("Decided on test rows")
    assert "looks were made at others, for this study or against the same balanced: trial-3 against balanced at" in text


def test_a_seed_that_failed_leaves_its_look_as_it_was_made(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = train(monkeypatch, winner_behind, fails=[("balanced", 456)])
    folder = decide(settings(here, *FEW))
    looks = report_of(folder)["figures"]["decision"]["looks"]
    assert [(look["planned"], look["n"]) for look in looks][:2] == [(4, 3), (6, 5)]
    assert trainer.trained.count(("trial-3", 456)) == 1
    assert summary_of(folder).index("Runs failed: balanced on seed 456.") < summary_of(folder).index("Decided on")
    assert report_of(folder)["figures"]["evidence"]["seeds_planned"] == looks[-1]["planned"]
    assert report_of(folder)["figures"]["evidence"]["share"] < 1
    trainer.fails = ()
    again = report_of(decide(settings(here, *FEW)))["figures"]["decision"]["looks"]
    assert again == looks
    assert verify(folder / "report.json") == []


def test_weak_and_strong_are_run_on_the_seeds_of_the_last_look_and_compared_after_the_question(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = train(monkeypatch)
    points = "points=[winner,balanced,weak,strong]"
    report = report_of(decide(settings(here, *FEW, points)))
    assert [(row["a"], row["b"], row["n"]) for row in report["figures"]["comparisons"]] == [
        ("winner", "balanced", 4),
        ("winner", "weak", 4),
        ("winner", "strong", 4),
    ]
    assert {row["verdict"] for row in report["figures"]["comparisons"]} == {"better"}
    assert trainer.trained[8:] == [(point, seed) for point in ("weak", "strong") for seed in PHASE_4[:4]]


def test_where_the_question_stays_open_nothing_is_claimed_of_weak_and_strong(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def weak_is_bad(config: DictConfig) -> float:
        return 0.0 if config.regularization.dropout == 0.2 else winner_behind(config)

    train(monkeypatch, weak_is_bad)
    rows = report_of(decide(settings(here, *FEW, "points=[winner,balanced,weak]")))["figures"]["comparisons"]
    level = report_of(here / "phase4/made-up/report")["figures"]["decision"]["level"]
    assert rows[1]["holm_p"] < level
    assert [row["verdict"] for row in rows] == ["indistinguishable", "indistinguishable"]


def test_a_margin_adds_the_verdict_equivalent(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(monkeypatch, lambda config: 2.5 + (0.02 if config.regularization.dropout == 0.22 else 0.0))
    decision = report_of(decide(settings(here, *FEW, "margin=0.05")))["figures"]["decision"]
    assert (decision["verdict"], decision["deploy"]) == ("equivalent", "balanced")


def test_without_test_rows_it_is_decided_on_validation_rows_and_says_so(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(monkeypatch)
    folder = decide(settings(here, *FEW, "test=false", "looks=[3]"))
    assert report_of(folder)["figures"]["decision"]["rows"] == "validation"
    assert "Decided on validation rows" in summary_of(folder)
    assert not (folder / "test_reads.jsonl").exists()


def test_where_balanced_is_the_winner_the_next_best_point_is_compared_with_it(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def balanced_is_best(config: DictConfig) -> float:
        return 0.9 if config.regularization.dropout == 0.25 else noisy(config)

    monkeypatch.setattr(phase4, "launch", Trainer(balanced_is_best))
    report = report_of(decide(settings(here, "design=sequential", "confirm.top=1")))
    assert report["inputs"]["winner"] == "balanced"
    assert [(row["a"], row["b"]) for row in report["figures"]["comparisons"]] == [("runner-up", "balanced")]
    assert report["figures"]["decision"]["deploy"] == "balanced"


def test_the_plan_says_how_many_runs_at_least_and_at_most_and_how_long(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = train(monkeypatch)
    with pytest.raises(UserError, match="start with --yes"):
        decide(settings(here, *FEW, "ask=true"))
    said = capsys.readouterr().out
    assert "is winner better than balanced, on test rows? Looked at after 4, 6, 8 and 10 pairs of seeds" in said
    assert "8 to 20 runs of 2 epochs, 0 are there already" in said
    assert "about 16 to 40 min for the 8 to 20 that are missing" in said
    assert trainer.trained == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["design=both"], "design: found 'both', expected sequential or research"),
        (["points=[winner,weak]"], "expected winner and balanced, which design=sequential compares"),
        (["seeds=[42,123,456,789,2024]"], r"there are 5 seeds; .* say looks=\[5\], or compare all points once"),
        (["looks=[2,4]"], r"expected rising numbers of pairs, 3 or more; type looks=\[3\], or design=research"),
        (["looks=[6,4]"], "expected rising numbers of pairs"),
        (["looks=[]"], "expected rising numbers of pairs"),
    ],
)
def test_a_design_that_does_not_fit_is_refused_with_what_to_type(
    here: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], message: str
) -> None:
    trainer = train(monkeypatch)
    with pytest.raises(UserError, match=message):
        decide(settings(here, *FEW, *overrides) if "design" not in overrides[0] else settings(here, *overrides))
    assert trainer.trained == []


def test_the_research_s_phase_4_is_a_design_of_its_own(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = train(monkeypatch)
    folder = decide(settings(here, "design=research", "confirm.top=0"))
    report = report_of(folder)
    assert report["figures"].get("decision") is None
    assert len(report["figures"]["comparisons"]) == 6
    assert len(trainer.trained) == 20
    assert {seed for _, seed in trainer.trained} == set(PHASE_4[:5])
    assert "6 comparisons of configurations, decided on test rows" in summary_of(folder)


def test_the_optimism_of_the_named_winner_has_an_error(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(monkeypatch)
    folder = decide(settings(here, *FEW))
    claim = report_of(folder)["figures"]["claim"]
    spread = report_of(folder)["figures"]["configurations"]["winner"]["figures"]["val_auc"]
    assert claim["optimism"] == pytest.approx(0.74 - spread["mean"])
    assert claim["standard_error"] == pytest.approx(spread["sd"] / 2)
    assert "winner was named by the highest value of the sweep, 0.7400." in summary_of(folder)
    assert (
        f"an optimism of {claim['optimism']:+.5f} ± {claim['standard_error']:.5f} (one standard error)"
        in summary_of(folder)
    )


def test_power_is_stated_for_the_looks_that_were_planned_and_noise_is_measured(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(monkeypatch, winner_behind)
    folder = decide(settings(here, *FEW))
    figures = report_of(folder)["figures"]
    decision = figures["decision"]
    effect = detectable_effect((4, 6, 8, 10), decision["level"], 6)
    assert effect is not None
    assert decision["detectable"] == pytest.approx(effect * decision["looks"][-1]["sd"])
    assert (
        f"these looks find a true difference of {decision['detectable']:.5f} with 80 % power"
        in (folder / "report.md").read_text()
    )
    spreads = [block["figures"]["test_auc"]["sd"] for block in figures["configurations"].values()]
    assert figures["noise"]["test"] == pytest.approx(math.sqrt(sum(sd**2 for sd in spreads) / 2))
    assert "would settle" not in (folder / "report.md").read_text()


def test_a_damaged_log_of_looks_is_one_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = train(monkeypatch)
    decide(settings(here, *FEW))
    (here / "phase4/made-up/looks.jsonl").write_text('{"look": 4}\n')
    with pytest.raises(UserError, match=r"looks.jsonl is damaged: expected a look in each line"):
        decide(settings(here, *FEW))
    assert len(trainer.trained) == 8


def test_a_race_names_the_winner_by_its_posterior_mean_and_nothing_is_confirmed(
    tmp_path_factory: pytest.TempPathFactory, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trial 3 has the highest value, by luck: two further seeds of its point give less than trial 1's point."""
    folder = tmp_path_factory.mktemp("raced")
    monkeypatch.chdir(folder)
    (folder / "runs").mkdir()
    os.symlink(stores, folder / "runs/stores")
    again = [(3, 8, 0.68), (3, 9, 0.681), (0, 8, 0.72), (0, 9, 0.719), (1, 8, 0.70), (1, 9, 0.70)]
    make_study(folder, runs_again=again)
    trainer = train(monkeypatch, lambda config: 2.5 if config.regularization.dropout == 0.2 else 0.3)
    report = report_of(folder_of := decide(settings(folder, "design=sequential", "confirm.top=3")))
    assert {point for point, _ in trainer.trained} == {"trial-0", "balanced"}
    assert (report["figures"]["confirmation"], report["inputs"]["winner_trial"]) == (None, 0)
    assert report["inputs"]["seeds"]["confirmation"] == []
    claim = report["figures"]["claim"]
    assert 0.70 < claim["claimed"] < 0.72
    assert claim["optimism"] == pytest.approx(claim["claimed"] - claim["fresh"])
    assert "named by the posterior mean over all runs of the race, 0.7" in summary_of(folder_of)
    assert verify(folder_of / "report.json") == []
