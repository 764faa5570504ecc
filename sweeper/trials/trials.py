"""The trials of one study, as a process sees them that takes, runs and ends them: the one owner of a study's changes.

``claim`` hands out a trial, ``finish``, ``fail`` and ``lost`` tell the study what came of it, ``reap`` gives up those
whose process is gone, and ``retry`` puts the point of a failed one in line again. What each of these looks at lies in
the modules beside this one: leases, retries, allocation, outcome.
"""

from __future__ import annotations

import contextlib
import logging
import math
import shlex
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from hydra.core.utils import JobReturn
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from mdaf.errors import StoppedError
from mdaf.messages.reporting import is_interruption, is_out_of_memory, one_line
from mdaf.messages.secrets import masked_text
from mdaf.sweeper.storage.optuna_internals import storage_of, stored_trial, trial_id_of
from mdaf.sweeper.storage.retrying import StorageAwayError, at_the_end
from mdaf.sweeper.trials.allocation import Allocation, Planned, counted, ended, failed_of, listed
from mdaf.sweeper.trials.leases import NEVER_BEGAN, Leases, LeaseWatch, holders, why_dead
from mdaf.sweeper.trials.outcome import (
    ERROR_CHARACTERS,
    Failure,
    Objective,
    describe,
    excess_of,
    release_memory,
    shortened,
    shown,
    values_of,
    with_less_memory,
)
from mdaf.sweeper.trials.points.proposals import Proposer
from mdaf.sweeper.trials.retries import Retries, owed_retries, point_of
from mdaf.sweeper.trials.user_attrs import (
    DEATHS,
    DEFAULT_MAX_DEATHS,
    DIED,
    ERROR,
    INTERRUPTED,
    INTERRUPTIONS,
    JOB,
    MAX_DEATHS,
    OUTCOME,
    RETRY,
    RETRY_OVERRIDES,
    SAME_RUN_AS,
    USER_ATTRIBUTES,
)
from mdaf.terminal.programs import command

log = logging.getLogger(__name__)

BY_SWEEPS = frozenset(attribute.name for attribute in USER_ATTRIBUTES if attribute.writer != "job")
REAP_SECONDS = 10.0  # between two looks for trials whose process is gone, where there is work to do


@dataclass(frozen=True)
class Death:
    """A trial that was given up: its number, why, and the number of the waiting trial that tries its point again."""

    number: int
    reason: str
    retry: int | None


class IncompleteGridError(StoppedError):
    """A grid's sweep came to its end without some of its points."""


class Trials:
    """The trials of a study. As a context manager it renews the leases of those that this process holds.

    ``n_trials``      so many are to finish
    ``planned``       points that new trials get before the sampler is asked
    ``only_planned``  no other points are tried, as in a grid
    ``replace_failed``  another trial runs in place of a failed one; if not, failed ones count among ``n_trials``
    ``objective``     what the jobs have to return
    ``prepare``       called with the number of a trial's draw before the sampler hears of it
    ``race``            gives each new trial its point and its seed, the planned points too
    ``leases``        of this process, where several studies share them
    """

    def __init__(
        self,
        study: optuna.Study,
        n_trials: float = math.inf,
        *,
        planned: Planned = (),
        only_planned: bool = False,
        replace_failed: bool = True,
        objective: Objective = Objective(),  # noqa: B008 - it is immutable
        prepare: Callable[[int], None] = lambda draw: None,
        race: Proposer | None = None,
        leases: Leases | None = None,
    ) -> None:
        self.study = study
        self.n_trials = n_trials
        self.planned = planned
        self.replace_failed = replace_failed
        self.objective = objective
        self.leases = leases if leases is not None else Leases(storage_of(study))
        self.retries = Retries(study)
        self._allocation = Allocation(
            study,
            n_trials,
            self.leases,
            self.retries,
            planned=planned,
            only_planned=only_planned,
            replace_failed=replace_failed,
            prepare=prepare,
            race=race,
        )
        self._lease_watch, self._reaped = LeaseWatch(), -math.inf

    def __enter__(self) -> Trials:
        self.leases.__enter__()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Whatever ended the sweep, no trial of this process is left RUNNING."""
        try:
            if error is not None:  # Ctrl-C, or a worker that is asked to end
                self.at_the_end(self.leave)
        finally:
            self.leases.__exit__()

    def seen(self, *states: TrialState) -> list[FrozenTrial]:
        """The trials as the study holds them now, in these states or in any; not to be changed."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def finished(self) -> int:
        """How many of the trials that count have ended."""
        return ended(self.seen(), replace_failed=self.replace_failed)

    # ---- taking one

    def claim(self, seen: Sequence[FrozenTrial], attributes: Mapping[str, Any]) -> Trial | None:
        """The next trial, held by this process, with these user attributes; None while enough trials count.

        ``seen`` are the trials as last seen: an old view costs a look more, never a trial too many.
        """
        return self._allocation.claim(seen, attributes)

    def is_over(self, seen: Sequence[FrozenTrial]) -> bool:
        """Whether nothing is left to do, here or in any other process."""
        return self._allocation.is_over(seen)

    # ---- ending one

    def finish(self, trial: Trial, result: JobReturn, micro_batch: int | None) -> Failure | None:
        """Tells the study how a trial ended, and lets go of it; what made it fail, if it did.

        ``micro_batch`` is what the config says of it; where memory ran out, half of what the job used is tried, once.
        """
        try:
            values = values_of(result, len(self.study.directions), self.objective.names)
            if self.objective.constraints:
                self._constrain(trial, result.return_value)
        except optuna.TrialPruned:
            if self._tell(trial, TrialState.PRUNED):
                log.info("trial %d pruned", trial.number)
        except Exception as error:
            return self.fail(trial, error, micro_batch)
        else:
            if self._tell(trial, TrialState.COMPLETE, values):
                told = ", ".join(f"{value:.4f}" for value in values)
                log.info("trial %d: %s with %s%s", trial.number, told, shown(trial.params), self._what_it_breaks(trial))
        self.leases.release(trial_id_of(trial))
        return None

    def _what_it_breaks(self, trial: Trial) -> str:
        """Why a complete trial can't be the best, as the end of a line; empty if it can."""
        if not self.objective.constraints:
            return ""
        excesses = stored_trial(self.study, trial).constraints
        broken = [name for name, excess in excesses.items() if excess > 0]
        return f"; it breaks the constraint of {', '.join(broken)}, so it is never the best" if broken else ""

    def _constrain(self, trial: Trial, returned: Any) -> None:
        stored = stored_trial(self.study, trial)
        if stored.state.is_finished():
            return  # another process gave the trial up meanwhile: telling it says so
        for name, excess in excess_of(returned, stored, self.objective.constraints).items():
            trial.set_constraint(name, excess)

    def fail(self, trial: Trial, error: Exception, micro_batch: int | None = None) -> Failure | None:
        """Tells a trial FAIL, with the error and its traceback; None if another process gave the trial up meanwhile."""
        failure = self._fail(trial, error, micro_batch)
        self.leases.release(trial_id_of(trial))
        return failure

    def take_value(self, trial: Trial, earlier: FrozenTrial) -> None:
        """Ends a trial without a job, as an earlier one ended whose run it would repeat."""
        recorded = {n: v for n, v in earlier.user_attrs.items() if n not in BY_SWEEPS and n not in (JOB, OUTCOME)}
        try:
            for name, value in {**recorded, SAME_RUN_AS: earlier.number}.items():
                trial.set_user_attr(name, value)
            for name, excess in earlier.constraints.items():
                if name in self.objective.constraints:  # others are set by the sampler when it is told
                    trial.set_constraint(name, excess)
            if earlier.state is TrialState.PRUNED and earlier.intermediate_values:
                last = max(earlier.intermediate_values)
                trial.report(earlier.intermediate_values[last], last)
        except UpdateFinishedTrialError:
            pass  # another process gave the trial up meanwhile: telling it says so
        values = earlier.values if earlier.state is TrialState.COMPLETE else None
        if self._tell(trial, earlier.state, values):
            what = "was pruned as" if values is None else f"has the value {', '.join(f'{v:.4f}' for v in values)} of"
            log.info("trial %d is not run: it %s trial %d, the same run", trial.number, what, earlier.number)
        self.leases.release(trial_id_of(trial))

    def withdraw(self, trial: Trial, reason: str) -> None:
        """Ends a trial that is not run, because another one is asked for instead of it."""
        self.retries.withdraw(trial_id_of(trial), reason)
        self.leases.release(trial_id_of(trial))

    def lost(self, trial: Trial, error: Exception) -> None:
        """Gives up a trial whose launcher says that its job's process or node is gone."""
        stored, reason = stored_trial(self.study, trial), shortened(one_line(error), ERROR_CHARACTERS)
        if not self.tell_outcome(stored) and self.give_up(stored, f"its job was lost: {reason}"):
            log.warning("trial %d is given up: its job was lost: %s", trial.number, reason)
            self.retries.enqueue_owed(at_once=[trial.number])
        self.leases.release(trial_id_of(trial))

    def leave(self) -> None:
        """Gives up the trials that this process holds, since it was asked to end."""
        storage = storage_of(self.study)
        held = [storage.get_trial(trial_id) for trial_id in sorted(self.leases.held)]
        for trial in held:
            if not self.tell_outcome(trial):
                self.give_up(trial, "the sweep was interrupted", interrupted=True)
        self.retries.enqueue_owed(at_once=[trial.number for trial in held])

    def at_the_end(self, tell: Callable[[], object]) -> None:
        """Has a process that is asked to end ``tell`` the study so, without waiting for the database."""
        at_the_end(storage_of(self.study), tell)

    def _fail(self, trial: Trial, error: Exception, micro_batch: int | None) -> Failure | None:
        stored = stored_trial(self.study, trial)
        if is_interruption(error) or stored.user_attrs.get(INTERRUPTED):
            return self._interrupted(stored, error)
        overrides = with_less_memory(stored, micro_batch) if is_out_of_memory(error) else None
        try:
            for name, value in describe(error).items():
                if name not in stored.user_attrs:  # the job, if it could, wrote them where it failed
                    trial.set_user_attr(name, value)
            if overrides is not None:
                trial.set_user_attr(RETRY, {RETRY_OVERRIDES: overrides})
        except UpdateFinishedTrialError:
            pass  # another process gave the trial up meanwhile: telling it says so
        if not self._tell(trial, TrialState.FAIL):
            return None
        self.retries.enqueue_owed(at_once=[trial.number])
        again = f"; it is tried again with {overrides[0]}" if overrides else ""
        log.warning("trial %d failed: %s%s", trial.number, describe(error)[ERROR], again)
        if is_out_of_memory(error):
            release_memory(error)
        return Failure(trial.number, error, retried=overrides is not None)

    def _interrupted(self, trial: FrozenTrial, error: Exception) -> Failure | None:
        """Gives up a trial whose job left before its end: its point is tried again, and goes on with resume=auto."""
        away = isinstance(error, StorageAwayError)  # only for this job, since the study is told so
        reason = ("its job lost the study database: " if away else "") + masked_text(one_line(error))
        if not self.give_up(trial, reason, interrupted=True):
            return None
        self.retries.enqueue_owed(at_once=[trial.number])
        log.warning("trial %d was interrupted: %s; its point is tried again", trial.number, reason)
        return Failure(trial.number, error, retried=True, interrupted=not away)

    def _tell(self, trial: Trial, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """False if the trial is over already, because another process took this one for dead."""
        try:
            self.study.tell(trial, list(values) if values is not None else None, state=state)
        except (ValueError, UpdateFinishedTrialError):
            if not stored_trial(self.study, trial).state.is_finished():
                raise
            given_up = "trial %d was given up by another process meanwhile, so its result is not counted"
            log.warning(given_up, trial.number)
            return False
        return True

    # ---- giving up those whose process is gone

    def reap(
        self,
        watch: LeaseWatch | None = None,
        held: Collection[int] | None = None,
        *,
        interrupted: bool = False,
    ) -> list[Death]:
        """Fails the RUNNING trials whose process is gone and puts the point of each in line again, once per death.

        One whose job came to its end, and recorded it, is told so instead.

        A trial that another machine holds is given up only with a ``watch`` that is kept from call to call and has
        seen its lease stand still for ``LEASE_SECONDS``; without one only processes of this machine are judged. Any
        number of processes may reap at once, and one that dies half-way is made good by the next. ``held`` are the ids
        of the trials that this process holds, if it knows: any other that names it is nobody's. ``interrupted``:
        whatever is dead was asked to end, and too slow to say so.
        """
        given_up = {}
        for trial in self.seen(TrialState.RUNNING):
            if (reason := why_dead(trial, watch, held)) is None or self.tell_outcome(trial):
                continue
            if self.give_up(trial, reason, interrupted=interrupted or reason == NEVER_BEGAN or not holders(trial)):
                given_up[trial.number] = reason
        retries = self.retries.enqueue_owed(at_once=given_up)
        return [Death(number, reason, retries.get(number)) for number, reason in given_up.items()]

    def reap_when_due(self, *, at_once: bool) -> bool:
        """Reaps every ``REAP_SECONDS``, or ``at_once``, for a sweep that holds its trials; whether it did."""
        if not at_once and time.monotonic() - self._reaped <= REAP_SECONDS:
            return False
        self._reaped = time.monotonic()
        for death in self.reap(self._lease_watch, self.leases.held):
            again = f"; trial {death.retry} tries its point again" if death.retry is not None else ""
            log.warning("trial %d is given up: %s%s", death.number, death.reason, again)
        return True

    def tell_outcome(self, trial: FrozenTrial) -> bool:
        """Tells the study what the job of a trial recorded of its own end; False if it came to none."""
        outcome = trial.user_attrs.get(OUTCOME)
        if outcome is None or not all(map(math.isfinite, outcome["values"] or [])):
            return False
        state, values = TrialState[outcome["state"]], outcome["values"]
        if state is TrialState.PRUNED and trial.intermediate_values:  # as Study.tell does
            values = [trial.intermediate_values[max(trial.intermediate_values)]]
        with contextlib.suppress(UpdateFinishedTrialError):
            storage_of(self.study).set_trial_state_values(trial_id_of(trial), state, values)
        return True

    def give_up(self, trial: FrozenTrial, reason: str, *, interrupted: bool = False) -> bool:
        """Tells a trial FAIL with the reason; False if it is over by now. ``Retries`` has its point tried again.

        One that was ``interrupted``, or whose job has recorded that it was, has done nothing wrong: its point is tried
        again however often that happens. A process that died may have died of the point, which ``max_deaths`` bounds.
        """
        storage, trial_id = storage_of(self.study), trial_id_of(trial)
        attributes = storage.get_trial(trial_id).user_attrs  # a job may have written since the trial was read
        interrupted = interrupted or bool(attributes.get(INTERRUPTED))
        counter = INTERRUPTIONS if interrupted else DEATHS
        times = attributes.get(counter, 0) + 1
        again = bool(point_of(trial)) and (interrupted or times < self.max_deaths)
        try:
            storage.set_trial_user_attr(trial_id, DIED, reason)
            if interrupted and not attributes.get(INTERRUPTED):
                storage.set_trial_user_attr(trial_id, INTERRUPTED, reason)
            if again:
                storage.set_trial_user_attr(trial_id, RETRY, {counter: times})
            return storage.set_trial_state_values(trial_id, TrialState.FAIL)
        except UpdateFinishedTrialError:
            return False

    @property
    def max_deaths(self) -> float:
        """After how many deaths a point is not tried again, as the latest sweep of the study was told."""
        try:
            return float(self.study.user_attrs.get(MAX_DEATHS, DEFAULT_MAX_DEATHS))
        except (TypeError, ValueError):  # another program's attribute of that name
            return DEFAULT_MAX_DEATHS

    def bound_deaths(self, most: float) -> None:
        """Keeps the bound in the study, where whoever gives a trial up finds it."""
        if most != self.max_deaths:
            self.study.set_user_attr(MAX_DEATHS, "inf" if most == math.inf else int(most))

    # ---- trying points again

    def retry(self, trial: FrozenTrial) -> int:
        """Puts the point of a failed trial in line once more; the number of the trial that has it."""
        return self.retries.enqueue_again(trial)

    def give_up_by_hand(self, trials: Sequence[FrozenTrial]) -> dict[int, int | None]:
        """Gives trials up whatever their leases say; the number of each that was -> its retry's."""
        given_up = [trial.number for trial in trials if self.give_up(trial, "given up by hand", interrupted=True)]
        return {**dict.fromkeys(given_up), **self.retries.enqueue_owed(at_once=given_up)}

    def retry_planned(self, max_retries: float, began: float) -> None:
        """Puts the planned points in line that failed before a sweep began, ``max_retries`` times each, and says so.

        What made them fail may have been mended since: a path, a package, a machine. Those that failed of themselves,
        or took their processes with them, are left out.
        """
        trials = self.seen()
        # A retry takes the place of the failed trial where that one counts, so it needs no room.
        room = self.n_trials - len(counted(trials)) - len(owed_retries(trials)) if self.replace_failed else math.inf
        again, never = [], []
        for name, failed in failed_of(self.planned, trials):
            failed_at = failed.last.datetime_complete
            if room <= 0 or failed_at is None or failed_at.timestamp() >= began:
                continue
            what = f"{name} (trial {failed.last.number})"
            why = failed.why_never_again
            if why is None and failed.failures > max_retries:
                why = f"it failed {failed.failures} times"
            if why is not None:
                never.append(f"{what}: {why}")
                continue
            self.retry(failed.last)
            room -= 1
            again.append(what)
        if again:
            log.info("failed before, and tried again: %s", listed(again))
        if never:
            way = f"{command('sweeper.study')} retry"
            log.warning("failed before, and not tried again unless by %s: %s", way, listed(never))

    def report_missing(self, *, must_be_whole: bool) -> None:
        """Names the planned points that the results lack. IncompleteGridError where all of them were asked for."""
        trials = self.seen()
        missing = [(name, f) for name, f in failed_of(self.planned, trials) if f.why_never_again is None]
        if not missing:
            return
        named = listed([f"{name} (trial {failed.last.number})" for name, failed in missing])
        room = self.n_trials - ended(trials) if self.replace_failed else len(missing)
        greater = "" if room > 0 else f" with hydra.sweeper.n_trials={self.n_trials + len(missing)}"
        asked = f"show {missing[0][1].last.number} --study {shlex.quote(self.study.study_name)}"
        line = (
            f"failed, and not among the results: {named}; the same command{greater} tries them again, and "
            f"{command('sweeper.study')} {asked} says why"
        )
        if must_be_whole and room > 0:
            raise IncompleteGridError(f"the grid lacks {len(missing)} of its {len(self.planned)} points, which {line}")
        log.warning(line)
