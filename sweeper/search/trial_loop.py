"""The loop of a sweep: claim a trial, hand its job to the launcher, tell the study what came of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from optuna.trial import FrozenTrial, Trial

from mdaf.errors import UserError
from mdaf.interruption import Interruption
from mdaf.reporting import is_user_error, one_line
from mdaf.sweeper.search.cluster import is_lost, runs_elsewhere
from mdaf.sweeper.search.job_slots import JobEnd, JobSlots
from mdaf.sweeper.search.jobs import Jobs
from mdaf.sweeper.search.stopping import Stopping
from mdaf.sweeper.trials.outcome import Failure
from mdaf.sweeper.trials.trials import Trials

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5  # between two looks at a study that other processes finish
LOST_IN_A_ROW = 5  # times n_jobs: so many jobs that were lost say that none will come back


class TrialLoop:
    """Runs trials until the study holds enough finished ones, or a criterion ends the sweep.

    ``n_jobs``            jobs of one launch, or of one moment where a launcher runs each in a process of its own
    ``max_failure_rate``  of the jobs of a launch; more failures end the sweep
    """

    def __init__(self, trials: Trials, jobs: Jobs, stopping: Stopping, n_jobs: int, max_failure_rate: float) -> None:
        self.trials = trials
        self.jobs = jobs
        self.stopping = stopping
        self.n_jobs = n_jobs
        self.max_failure_rate = max_failure_rate

    def run(self) -> None:
        """The loop; whatever ends it, no trial of this process is left RUNNING."""
        with self.trials:
            if runs_elsewhere(self.jobs.launcher):
                self._keep_running()
            else:
                self._launch_in_turn()

    # ---- jobs that a launcher runs in this process, or waits for all at once

    def _launch_in_turn(self) -> None:
        """Launches ``n_jobs`` trials, waits for all, and so on."""
        idle = False
        while not self.trials.is_over(seen := self.trials.seen()):
            Interruption().check()  # what was raised at that moment may have been swallowed
            if self.trials.reap_when_due(at_once=idle):
                seen = self.trials.seen()
            if reason := self._reason_to_stop(seen):
                log.info("the sweep ends: %s", reason)
                return
            claimed = self._claim(seen)
            if claimed:
                self._launch(claimed)
            elif idle:
                time.sleep(POLL_SECONDS)
            idle = not claimed

    def _claim(self, seen: Sequence[FrozenTrial]) -> list[Trial]:
        claimed: list[Trial] = []
        while len(claimed) < self.n_jobs and (trial := self.trials.claim(seen, self.jobs.attributes)) is not None:
            claimed.append(trial)
            if len(claimed) < self.n_jobs:
                seen = self.trials.seen()
        return claimed

    def _launch(self, claimed: Sequence[Trial]) -> None:
        """Runs a job for each trial and tells the study what came of it."""
        try:
            for trial in claimed:
                self.jobs.suggest(trial)
            results = self.jobs.launch(claimed)
        except Exception as error:  # of the space, the launcher or the composition of a job: not the job's own
            for trial in claimed:
                self.trials.fail(trial, error)
            raise
        micro_batch = self.jobs.micro_batch
        failures = [self.trials.finish(trial, one, micro_batch) for trial, one in zip(claimed, results, strict=True)]
        self._stop_if_failing([failure for failure in failures if failure is not None], len(claimed))

    # ---- jobs that a launcher runs in processes of their own

    def _keep_running(self) -> None:
        """Keeps ``n_jobs`` jobs running elsewhere, each begun when another ends; a lost one's point is tried again."""
        slots, ending, lost = JobSlots(self.jobs.launcher, self.n_jobs), False, 0
        while True:
            Interruption().check()  # what was raised at that moment may have been swallowed
            seen, begun = self.trials.seen(), False
            if self.trials.reap_when_due(at_once=not slots.running):
                seen = self.trials.seen()
            over = self.trials.is_over(seen)
            if not (ending or over) and (reason := self._reason_to_stop(seen)):
                log.info("the sweep ends: %s", reason)
                ending = True
            if not slots.running and (ending or over):
                return
            if not (ending or over) and slots.free and (trial := self.trials.claim(seen, self.jobs.attributes)):
                self._begin(trial, slots)
                begun = True
            for ended in slots.wait(0.0 if begun else POLL_SECONDS):
                lost = lost + 1 if self._end(ended) else 0
                if lost > LOST_IN_A_ROW * self.n_jobs:
                    assert isinstance(ended.result, Exception)
                    raise UserError(f"{lost} jobs in a row were lost, the last one: {one_line(ended.result)}")

    def _begin(self, trial: Trial, slots: JobSlots) -> None:
        try:
            self.jobs.suggest(trial)
            job = self.jobs.overrides_of(trial)
        except Exception as error:  # of the space: not the job's own
            self.trials.fail(trial, error)
            raise
        slots.start(trial, job)

    def _end(self, ended: JobEnd) -> bool:
        """Tells the study what came of a job; whether it was lost."""
        trial, result = ended.trial, ended.result
        if isinstance(result, Exception) and is_lost(result):
            self.trials.lost(trial, result)
            return True
        if isinstance(result, Exception):
            failure = self.trials.fail(trial, result, self.jobs.micro_batch)
        else:
            failure = self.trials.finish(trial, result, self.jobs.micro_batch)
        if failure is not None and failure.interrupted:  # of one job among many: the others go on
            return True
        self._stop_if_failing([failure] if failure is not None else [], 1)
        return False

    # ---- the end

    def _reason_to_stop(self, seen: Sequence[FrozenTrial]) -> str | None:
        return self.stopping.reason(self.trials.study, seen)

    def _stop_if_failing(self, failures: Sequence[Failure], launched: int) -> None:
        """Ends the sweep when too many of a launch failed, or when every trial would fail the same way."""
        for failure in failures:
            if failure.interrupted or is_user_error(failure.error):
                raise failure.error
        lasting = [failure for failure in failures if not failure.retried]
        if lasting and len(lasting) / launched > self.max_failure_rate:
            raise lasting[0].error
