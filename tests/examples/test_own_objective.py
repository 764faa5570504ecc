"""The example of a Hydra program that has nothing to do with click-through rates."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from tests.examples.readme import EXAMPLES, blocks, copy_of, run


def trials(folder: Path, study: str) -> list[FrozenTrial]:
    return optuna.load_study(study_name=study, storage=f"sqlite:///{folder}/runs/studies.db").trials


def test_a_program_that_imports_nothing_of_ours_is_searched_by_config_alone(tmp_path: Path) -> None:
    assert "mdaf" not in (EXAMPLES / "own_objective/app.py").read_text()
    folder = copy_of("own_objective", tmp_path)
    once, search, two_workers, best = blocks("own_objective")[0]
    assert "validation loss" in run(once, folder).stdout
    assert not (folder / "runs").exists()
    run(search, folder)
    first = trials(folder, "curve")
    assert len(first) == 4
    run(two_workers, folder)
    finished = trials(folder, "curve")
    assert [trial.values for trial in finished[:4]] == [trial.values for trial in first]
    assert [trial.state for trial in finished] == [TrialState.COMPLETE] * 6
    assert len({trial.user_attrs["worker"] for trial in finished[4:]}) <= 2
    winner = min(finished, key=lambda trial: trial.values[0])
    shown = run(best, folder).stdout
    assert shown.splitlines()[-1].startswith("python app.py --config-name sweep ")
    assert f"degree={winner.params['degree']}" in shown


@pytest.mark.slow
def test_its_jobs_report_to_their_trial_and_a_pruner_stops_some(tmp_path: Path) -> None:
    folder = copy_of("own_objective", tmp_path)
    for line in blocks("own_objective")[1]:
        shown = run(line, folder).stdout
    states = [trial.state for trial in trials(folder, "pruned-curve")]
    assert set(states) == {TrialState.COMPLETE, TrialState.PRUNED}
    assert "PRUNED" in shown
