"""The verdict on a study of another program: which runs it takes, what it says of them, and what it refuses."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from omegaconf import DictConfig
from optuna.distributions import CategoricalDistribution
from optuna.trial import create_trial

from mdaf.errors import UserError
from mdaf.multirun.program.pipeline import decide
from mdaf.multirun.program.report import verify
from mdaf.multirun.program.runs import searched
from mdaf.sweeper.storage.opening import open_storage
from mdaf.sweeper.study.winners import ranked
from mdaf.sweeper.trials.points.space import wanted
from tests.multirun.program.bowl import OUTER, in_this_process, judged, loss, phase4, runs_in, score, swept

#: The least that a verdict can be of, where its size does not matter.
FEW = ("confirm.top=1", "confirm.seeds=[1,2]", "seeds=[3,4,5]", "looks=[3]")
ROWS = ("DeLong", "users", "gate", "criteria", "Criteria", "AUC", "ECE", "best.pt", "scores_")  # of this program's runs


@pytest.fixture(scope="module")
def minimized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study that minimizes, and its verdict; beside it, the study as it was before."""
    folder = tmp_path_factory.mktemp("minimized")
    swept(folder)
    shutil.copy(folder / "s.db", folder / "searched.db")
    judged(folder)
    return folder


@pytest.fixture
def searched_study(minimized: Path, tmp_path: Path) -> Path:
    """A copy of its study before anything was judged."""
    shutil.copy(minimized / "searched.db", tmp_path / "s.db")
    return tmp_path


@pytest.fixture
def study(minimized: Path, tmp_path: Path) -> Path:
    """A copy of its study database alone, which a test may change."""
    shutil.copy(minimized / "s.db", tmp_path / "s.db")
    return tmp_path


def open_study(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=open_storage(f"sqlite:///{folder}/s.db", create=False))


def report_in(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "phase4/s/report/report.json").read_text())
    return found


@pytest.mark.parametrize(("task", "direction", "sign"), [(loss, "minimize", -1), (score, "maximize", 1)])
def test_a_better_winner_is_called_better_whether_a_loss_or_a_score_is_judged(
    minimized: Path, tmp_path: Path, task: Callable[[DictConfig], float], direction: str, sign: int
) -> None:
    if direction == "minimize":  # that verdict is there, and is given again
        study = open_study(minimized)
        folder, report, _ = judged(minimized)
    else:
        study = swept(tmp_path, task=task, sign=direction)
        folder, report, _ = judged(tmp_path, *FEW, task=task)
    [row] = report.figures.comparisons
    assert (row.a, row.b, row.verdict) == (report.inputs.winner, "usual", "better")
    assert sign * row.mean > 0
    assert report.inputs.winner != "usual"
    assert report.inputs.direction == study.direction.name.lower()
    text = (folder / "report.md").read_text()
    assert f"{row.a} is better than usual" in text
    assert f"Take {row.a}: it is better than usual." in text
    assert verify(folder / "report.json", f"sqlite:///{folder.parents[2]}/s.db") == []


def test_a_winner_that_is_none_better_is_called_indistinguishable(tmp_path: Path) -> None:
    def noise(cfg: DictConfig) -> float:
        return loss(cfg) - (cfg.x - 0.3) ** 2 - (cfg.y - 0.6) ** 2

    swept(tmp_path, "hydra.sweeper.sampler.seed=1", task=noise)  # by chance another sweep may give a false verdict
    folder, report, _ = judged(tmp_path, *FEW, task=noise)
    assert [row.verdict for row in report.figures.comparisons] == ["indistinguishable"]
    assert "Keep usual, the baseline, or the cheaper" in (folder / "report.md").read_text()


def test_a_seed_that_changes_nothing_ends_in_one_line_after_confirmation(tmp_path: Path) -> None:
    def without_chance(cfg: DictConfig) -> float:
        return float((cfg.x - 0.3) ** 2 + (cfg.y - 0.6) ** 2)

    swept(tmp_path, task=without_chance)
    with pytest.raises(UserError, match=r"^seed_key: seed changes nothing: .*expected the key that seeds a run"):
        judged(tmp_path, task=without_chance)
    assert len(runs_in(tmp_path).trials) == 12
    assert not (tmp_path / "phase4/s/report").exists()


def test_a_difference_that_is_the_same_on_each_seed_gets_no_verdict_and_the_report_says_why(tmp_path: Path) -> None:
    def same_chance(cfg: DictConfig) -> float:
        common = random.Random(int(cfg.seed)).gauss(0, 0.05)
        return float((cfg.x - 0.3) ** 2 + (cfg.y - 0.6) ** 2 + common)

    swept(tmp_path, task=same_chance)
    folder, report, _ = judged(tmp_path, *FEW, task=same_chance)
    assert [row.verdict for row in report.figures.comparisons] == ["indistinguishable"]
    assert (
        "The paired t-test weighs a difference against its spread, and there is none."
        in (folder / "report.md").read_text()
    )


def test_the_best_points_and_the_baseline_are_confirmed_and_then_two_of_them_repeated_on_fresh_seeds(
    minimized: Path,
) -> None:
    inputs, figures = report_in(minimized)["inputs"], report_in(minimized)["figures"]
    assert len(inputs["candidates"]) == 4
    assert inputs["candidates"][-1] == inputs["baseline"] == "usual"
    runs = {(run["stage"], run["point"]): [] for run in inputs["runs"]}
    for run in inputs["runs"]:
        runs[run["stage"], run["point"]].append(run["seed"])
    confirmed = {point: seeds for (stage, point), seeds in runs.items() if stage == "confirmation"}
    assert confirmed == {name: [1001, 1002, 1003] for name in inputs["candidates"]}
    repeated = {point: seeds for (stage, point), seeds in runs.items() if stage == "phase 4"}
    assert repeated == {name: [42, 123, 456, 789] for name in (inputs["winner"], "usual")}  # of the first look
    assert figures["decision"]["stop"] == "verdict"
    assert inputs["search_seeds"] == [0]
    trials = runs_in(minimized).trials
    assert len(trials) == len(inputs["runs"]) == 20
    assert {name: figures["runs"][name] for name in figures["runs"]} == {
        run["id"]: trials[run["trial"]].values[0] for run in inputs["runs"]
    }


def test_a_race_names_its_winner_itself_and_nothing_is_confirmed(tmp_path: Path) -> None:
    race = ("hydra/sweeper/sampler=racing", "hydra.sweeper.sampler.start=3", "hydra.sweeper.n_trials=9")
    study = swept(tmp_path, *race)
    folder, report, _ = judged(tmp_path)
    inputs = report.inputs
    assert {run.stage for run in inputs.runs} == {"phase 4"}
    assert inputs.seeds["confirmation"] == []
    best = next(trial for trial in ranked(study) if trial.params != OUTER)
    assert inputs.winner == f"trial-{best.number}"
    assert "the race named" in (folder / "report.md").read_text()
    assert verify(folder / "report.json", f"sqlite:///{tmp_path}/s.db") == []


def test_the_difference_has_one_interval_which_holds_over_all_looks_and_its_error_is_that_of_seeds(
    minimized: Path,
) -> None:
    figures, text = report_in(minimized)["figures"], (minimized / "phase4/s/report/report.md").read_text()
    low, high = figures["decision"]["looks"][-1]["interval"]
    assert figures["comparisons"][0]["interval"] == pytest.approx([-high, -low])  # a smaller loss is better
    assert "95 % interval over all looks [" in text
    assert "The error is that of the seeds alone" in text.partition("## Configuration")[0]


def test_another_folder_is_no_way_to_look_anew_at_another_program(study: Path, minimized: Path) -> None:
    shutil.copytree(minimized / "phase4", study / "phase4")
    elsewhere = (f"folder={study}/phase4/other", f"reuse={study}")
    with pytest.raises(UserError, match=r"were looked at with looks=\[4,6,8,10\] .* before"):
        judged(study, *elsewhere, "looks=[4]")


def test_a_report_of_another_program_has_nothing_on_rows(minimized: Path) -> None:
    folder = minimized / "phase4/s/report"
    page = (folder / "report.html").read_text()
    body = page[page.index("<body>") :]
    texts = ((folder / "report.md").read_text(), (folder / "report.json").read_text(), body)
    for text in texts:
        assert [word for word in ROWS if word in text] == []
    assert "difference in value" in body  # the chart of the pairs


def test_a_verdict_that_is_there_is_given_again_without_a_run(study: Path) -> None:
    _, again, started = judged(study)
    assert started.starts == []
    assert len(again.inputs.runs) == 20


def test_an_interrupted_verdict_goes_on_with_what_is_missing(searched_study: Path) -> None:
    left = [4]

    def interrupted(cfg: DictConfig) -> float:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return loss(cfg)

    with pytest.raises(KeyboardInterrupt):
        judged(searched_study, "confirm.top=1", task=interrupted)
    _, report, started = judged(searched_study, "confirm.top=1")
    done = runs_in(searched_study).get_trials(states=[optuna.trial.TrialState.COMPLETE])
    points = [tuple(sorted(trial.params.items())) for trial in done]
    assert len(points) == len(set(points)) == len(report.inputs.runs) == 14
    assert len(started.starts) == 2  # what confirmation lacked, and Phase 4


def test_a_seed_that_fails_is_left_out_and_named_and_of_confirmation_tried_again(searched_study: Path) -> None:
    def failing(cfg: DictConfig) -> float:
        if cfg.seed in (456, 1002):
            raise RuntimeError("no luck")
        return loss(cfg)

    folder, report, _ = judged(searched_study, "confirm.top=1", task=failing)
    assert {name: seeds for name, seeds in report.inputs.failed.items() if name.startswith("phase 4")} == {
        f"phase 4/{name}": [456] for name in (report.inputs.winner, "usual")
    }
    assert report.inputs.failed["confirmation/usual"] == [1002]
    text = (folder / "report.md").read_text()
    assert "missing from all figures" in text
    assert text.index("Runs failed: ") < text.index("The mean difference is")
    assert report.figures.comparisons[0].seeds == [42, 123, 789]
    _, again, _ = judged(searched_study, "confirm.top=1")
    assert "confirmation/usual" not in again.inputs.failed


def test_verify_names_a_value_that_was_changed_and_whatever_was_computed_from_it(study: Path, minimized: Path) -> None:
    report, url = minimized / "phase4/s/report/report.json", f"sqlite:///{study}/s.db"
    assert verify(report, url) == []
    storage = open_storage(url, create=False)
    run = next(run for run in report_in(minimized)["inputs"]["runs"] if run["stage"] == "phase 4")
    with storage.engine.begin() as connection:  # type: ignore[attr-defined]
        connection.exec_driver_sql(
            "UPDATE trial_values SET value = value + 0.5 WHERE trial_id = (SELECT trial_id FROM trials JOIN studies "
            "USING (study_id) WHERE study_name = 's-phase4' AND number = ?)",
            (run["trial"],),
        )
    named = [difference.figure for difference in verify(report, url)]
    assert named[0] == f"runs.{run['id']}"
    assert "comparisons[0].mean" in named


def test_verify_refuses_a_trial_that_is_another_run(study: Path, minimized: Path) -> None:
    held = report_in(minimized)
    held["inputs"]["runs"][0]["seed"] = 5
    (study / "report.json").write_text(json.dumps(held))
    with pytest.raises(UserError, match="it is another run than confirmation/"):
        verify(study / "report.json", f"sqlite:///{study}/s.db")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"direction": "maximize"}, "says maximize of objective 0, but study s has minimize"),
        ({"direction": "sideways"}, "says sideways of objective 0"),
        ({"index": -1}, "but study s has no such objective"),
        ({"alpha": 0}, "alpha is 0, expected a number in"),
        ({"runs": 2}, "has the run confirmation/.* twice"),
    ],
)
def test_verify_refuses_rules_that_the_study_does_not_have(
    study: Path, minimized: Path, changed: dict[str, Any], said: str
) -> None:
    held = report_in(minimized)
    if "runs" in changed:
        changed = {"runs": [*held["inputs"]["runs"], held["inputs"]["runs"][0]]}
    held["inputs"] |= changed
    (study / "report.json").write_text(json.dumps(held))
    with pytest.raises(UserError, match=said):
        verify(study / "report.json", f"sqlite:///{study}/s.db")


@pytest.mark.parametrize(
    ("typed", "name", "params"),
    [
        ("baseline=0", "trial-0", {"x": 0.9, "y": 0.9}),
        ("baseline={x: 0.5, y: 1.5}", "baseline", {"x": 0.5, "y": 1.5}),  # outside of what was searched
    ],
)
def test_the_baseline_may_be_a_trial_or_a_point_as_it_is_typed(
    study: Path, typed: str, name: str, params: dict[str, float]
) -> None:
    _, report, _ = judged(study, typed, *FEW)
    assert report.inputs.baseline == name
    [point] = [point for point in report.inputs.points if point.name == name]
    assert point.params == params


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["study=none"], "there is no study 'none'"),
        (["study=s-phase4"], "holds the runs of a verdict; expected study=s"),
        (["baseline=usul"], "has no point usul; did you mean usual?"),
        (["baseline={x: 0.1}"], "baseline: has no value of y"),
        (["baseline={x: 0.1, y: 0.2, w: 1}"], "baseline: w was not searched"),
        (["baseline={x: a, y: 0.2}"], "baseline: x: found 'a', expected a number"),
        (["seeds=[1]"], r"seeds: found \[1\], expected two seeds or more"),
        (["seeds=[1,1]"], "two seeds or more, each once"),
        (["seeds=[1,2,3]"], "but there are 3 seeds; expected a seed for each pair of the last look"),
        (["design=both"], "expected sequential or research"),
        (["confirm.seeds=[1]"], "confirm.seeds: found"),
        (["seeds=[0,1]", "design=research"], "seed 0: found in both the search and Phase 4"),
        (["seeds=[1001,1]", "design=research"], "seed 1001: found in both confirmation"),
        (["seed_key=trainer.seed"], "has no key trainer.seed"),
        (["seed_key=x"], "searched x itself"),
        (["objective=auc"], "objective: study s has no auc"),
        (["program=''"], "program: found an empty command"),
        (["program=no-such-command"], "there is no command no-such-command"),
    ],
)
def test_a_question_that_has_no_answer_is_one_line_before_any_run(study: Path, typed: list[str], said: str) -> None:
    cfg = phase4(study, *typed)
    with in_this_process(study) as started, pytest.raises(UserError, match=said) as refused:
        decide(cfg)
    assert "\n" not in str(refused.value)
    assert started.starts == []


def test_a_study_whose_trials_have_no_value_is_refused(tmp_path: Path) -> None:
    def failing(cfg: DictConfig) -> float:
        raise RuntimeError("no luck")

    with pytest.raises(UserError, match="no trial completed"):
        swept(tmp_path, "hydra.sweeper.max_failure_rate=1", "hydra.sweeper.n_trials=1", task=failing)
    with in_this_process(tmp_path), pytest.raises(UserError, match="has no value to start from: no trial has one"):
        decide(phase4(tmp_path))


def test_of_several_objectives_one_is_named_and_judged_by_its_own_direction(tmp_path: Path) -> None:
    def both(cfg: DictConfig) -> tuple[float, float]:
        return score(cfg), float(cfg.x)

    names = ("hydra.sweeper.objectives=[quality,size]", "hydra.sweeper.direction=[maximize,minimize]")
    swept(tmp_path, *names, task=both)
    with in_this_process(tmp_path), pytest.raises(UserError, match="objective=quality or objective=size"):
        decide(phase4(tmp_path))
    _, by_size, _ = judged(tmp_path, "objective=size", *FEW, task=both)
    assert (by_size.inputs.direction, by_size.inputs.index) == ("minimize", 1)
    assert by_size.figures.comparisons[0].mean < 0
    _, by_quality, _ = judged(tmp_path, "objective=quality", *FEW, task=both)
    assert by_quality.inputs.direction == "maximize"
    assert by_quality.figures.comparisons[0].verdict == "better"


def test_runs_of_another_config_than_the_trials_had_are_refused_with_what_to_type(tmp_path: Path) -> None:
    swept(tmp_path, "z=bar")
    with in_this_process(tmp_path), pytest.raises(UserError, match=r'if that is right, type it: .* z=bar"'):
        decide(phase4(tmp_path))
    text = (judged(tmp_path, "force=true", *FEW)[0] / "report.md").read_text()
    first = text.partition("## Verdict")[2].strip().splitlines()[2]
    assert "force=true although it lacked the config that the study's trials had, which differs in z." in first


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("callbacks._target_", "os.system", "a key that begins with _ may name code"),
        ("hydra.sweep.dir", "srv", "its key is none that a study may set"),
        ("x", "${oc.env:HOME}", "an interpolation may read what is no part of the study"),
        ("log", "/home/somebody/.profile", "it may be a path"),
        ("log", "../app.py", "it may be a path"),
    ],
)
def test_a_study_says_values_and_neither_code_nor_paths(tmp_path: Path, name: str, value: str, said: str) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/s.db", create=True)
    study = optuna.create_study(study_name="s", storage=storage)
    study.set_user_attr("typed_with", {"program": "rm -rf /"})
    kind = CategoricalDistribution([value, "other"])
    for choice in (value, "other"):
        study.add_trial(create_trial(value=1.0, params={name: choice}, distributions={name: kind}))
    with in_this_process(tmp_path) as started, pytest.raises(UserError, match=said):
        decide(phase4(tmp_path, "baseline=1"))
    assert started.starts == []


def test_a_text_with_a_slash_is_taken_if_it_is_typed_here(tmp_path: Path) -> None:
    swept(tmp_path, "z=choice(small/net,large/net)")
    few = (*FEW, "baseline=0")
    with (
        in_this_process(tmp_path),
        pytest.raises(UserError, match=r"type it: \"overrides=\['z=\w+/net'(,'z=\w+/net')?\]\""),
    ):
        decide(phase4(tmp_path, *few))
    _, report, _ = judged(tmp_path, *few, "overrides=['z=small/net','z=large/net']")
    assert {point.params["z"] for point in report.inputs.points} <= {"small/net", "large/net"}


@pytest.mark.parametrize(
    "text",
    ["choice(a,b)", "choice(1,2.5,false)", "null,[8],[16,8]", "choice(a)", "choice({a: 1},'a b')", "choice('1',1)"],
)
def test_the_space_of_the_runs_holds_the_choices_as_the_study_records_them(text: str) -> None:
    kind = wanted({}, [f"x={text}"]).space["x"]
    assert wanted({}, [f"x={searched(kind)}"]).space["x"] == kind


def test_a_question_that_is_open_is_looked_at_again_with_more_seeds_until_the_last_look(tmp_path: Path) -> None:
    def close(cfg: DictConfig) -> float:
        return loss(cfg) - 0.999 * ((cfg.x - 0.3) ** 2 + (cfg.y - 0.6) ** 2)

    swept(tmp_path, task=close)
    plan = ("looks=[3,5]", "seeds=[11,12,13,14,15]", "confirm.top=1", "confirm.seeds=[1,2]", "futility=null")
    folder, report, started = judged(tmp_path, *plan, task=close)
    assert report.figures.decision is not None
    assert [look.planned for look in report.figures.decision.looks] == [3, 5]
    assert report.figures.decision.stop == "last look"
    assert report.figures.comparisons[0].seeds == [11, 12, 13, 14, 15]
    assert len(started.starts) == 3  # confirmation and two looks
    assert verify(folder / "report.json", f"sqlite:///{tmp_path}/s.db") == []
    with in_this_process(tmp_path), pytest.raises(UserError, match=r"were looked at with looks=\[3,5\]"):
        decide(phase4(tmp_path, *plan, "looks=[4,5]"))


def test_all_seeds_are_compared_once_where_the_design_is_the_researchs(study: Path) -> None:
    _, report, _ = judged(study, "design=research")
    assert report.figures.decision is None
    assert report.figures.comparisons[0].seeds == [42, 123, 456, 789, 2024]
    assert report.figures.comparisons[0].verdict == "better"
