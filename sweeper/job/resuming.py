"""Resumes a run that an earlier process began: finds the checkpoint, and restores replicas and the epoch from it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from mdaf.errors import UserError
from mdaf.files.atomic import write_atomically
from mdaf.model.stack import load_replica
from mdaf.sweeper.job.recorder import Recorder
from mdaf.sweeper.runs.checkpoint import BEFORE, START, DamagedError, Position, Saved, read, saved_in
from mdaf.sweeper.runs.folder import RunFolder
from mdaf.sweeper.runs.reader import BEST
from mdaf.sweeper.training.early_stopping import EarlyStopping
from mdaf.sweeper.training.loop import EpochState
from mdaf.sweeper.training.replicas import Replicas
from mdaf.sweeper.training.settings import LoopSettings

log = logging.getLogger(__name__)

T = TypeVar("T")


class OtherRunError(UserError):
    """The run folder contains checkpoints of another run."""


def states_of(recorder: Recorder) -> dict[Position, Saved]:
    """The checkpoints in the run's folder, by position. Raises OtherRunError if they belong to another run.

    Damaged checkpoints are left out. So are checkpoints whose best epoch's weights are neither in best.pt nor in
    themselves.
    """
    found = {}
    for state in recorder.folder.saved():
        for name, found_hash in (("config_hash", state.config_hash), ("data_hash", state.data_hash)):
            if found_hash != recorder.identity[name]:
                raise OtherRunError(
                    f"{recorder.folder.path}: holds the state of a run with {name} {found_hash}, and this one's is "
                    f"{recorder.identity[name]}; hydra.run.dir=... chooses another folder, resume=never starts anew if "
                    "that run was not finished"
                )
        if _is_own_best(state, recorder.monitor) or has_best(recorder.folder.path, state, recorder.monitor):
            found[state.position] = state
        elif not found:  # after a usable one nobody asks for the one before
            log.warning(
                "%s: %s does not hold the weights of its best epoch so far, so nothing goes on from epoch %d, step %d",
                *(recorder.folder.path, BEST, state.position.epoch, state.position.step),
            )
    if found and all(state.file == BEFORE for state in found.values()):
        recorder.folder.go_back()  # otherwise the next state would put the one that cannot be used in its place
    return found


def has_best(folder: Path, state: Saved, monitor: str) -> bool:
    """Whether best.pt in a folder has the weights of the best epoch in a state's history, if it has an epoch."""
    best_row = EarlyStopping.after(state.history, monitor=monitor).best
    if best_row is None:
        return True
    try:
        best = read(folder / BEST)
    except (FileNotFoundError, DamagedError):
        return False
    row = best.history[-1] if best.history else {}
    if (row.get("epoch"), row.get(monitor)) != (best_row["epoch"], best_row[monitor]):
        return False
    return (best.config_hash, best.data_hash, best.seed) == (state.config_hash, state.data_hash, state.seed)


def _is_own_best(state: Saved, monitor: str) -> bool:
    """Whether a state holds the weights of the best epoch in its history."""
    best_row = EarlyStopping.after(state.history, monitor=monitor).best
    return best_row is not None and (best_row["epoch"], 0) == (len(state.history), state.position.step)


def take_over(recorder: Recorder, state: Saved) -> None:
    """Lets a run's recorder continue from a state. If best.pt lacks the state's weights, the next state writes it."""
    recorder.go_on(state)
    if _is_own_best(state, recorder.monitor) and not has_best(recorder.folder.path, state, recorder.monitor):
        recorder.folder.keep_best(state)


def adopt(recorder: Recorder, others: Sequence[Path]) -> None:
    """Copies the latest checkpoint of the same run, and best.pt, into the folder of a run without checkpoints.

    ``others``  folders of earlier attempts at the same trial. The first one with such a checkpoint is taken.
    """
    folder, monitor = recorder.folder, recorder.monitor
    if not others or folder.saved():
        return
    wanted = tuple(recorder.identity[name] for name in ("config_hash", "data_hash"))
    for other in others:
        for state in saved_in(other):
            own_best = _is_own_best(state, monitor)
            if (state.config_hash, state.data_hash) == wanted and (own_best or has_best(other, state, monitor)):
                _copy(folder, other, state)
                return


def _copy(folder: RunFolder, other: Path, state: Saved) -> None:
    best = other / BEST
    if best.exists():
        with best.open("rb") as source:
            write_atomically(folder.path / BEST, lambda file: shutil.copyfileobj(source, file))
    folder.save(state)


def lock_step_groups(
    runs: Sequence[T], positions: Callable[[T], Mapping[Position, Saved]]
) -> list[tuple[Position, list[T]]]:
    """Groups of runs that can resume in lock-step, each with the position from which it resumes.

    Usually all runs resume from the last position that they have in common. If a process died while it wrote the
    checkpoints of a group, some runs are one checkpoint ahead, but they still have the one before. Runs have no
    position in common only if one of them has left the group. Then each run resumes from its own last position,
    together with the runs that have the same one.
    """
    all_positions = [set(positions(run)) or {START} for run in runs]
    if runs and (shared := set.intersection(*all_positions)):
        return [(max(shared), list(runs))]
    groups: dict[Position, list[T]] = {}
    for run, own in zip(runs, all_positions, strict=True):
        groups.setdefault(max(own), []).append(run)
    return list(groups.items())


def restore(replicas: Replicas, states: Sequence[Saved]) -> None:
    """Loads each replica's weights and optimizer state. Raises UserError if they do not fit the model."""
    for k, state in enumerate(states):
        try:
            load_replica(replicas.model, k, state.weights)
            replicas.load_optimizer_state(k, state.optimizer)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"last.pt does not fit the model of this config, so resume=never: {error}") from None


def epoch_of(states: Sequence[Saved], replicas: Replicas) -> EpochState:
    """The state of the current epoch, at the position that all ``states`` have in common."""
    partial_epoch = [state.partial_epoch for state in states if state.partial_epoch is not None]
    return EpochState.at(states[0].position, partial_epoch, replicas.device)


def is_over(state: Saved, recorder: Recorder, settings: LoopSettings) -> bool:
    """Whether no step is left to train: all epochs are done, or early stopping or the pruner ended the run."""
    stopping = EarlyStopping.after(state.history, settings.training.patience, settings.training.monitor)
    return (
        len(state.history) >= settings.training.epochs
        or recorder.pruned
        or (stopping.stops and state.position.step == 0)
    )
