"""The loop of a sweep: claims a trial, hands its job to the launcher, and writes the outcome to the study."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from optuna.trial import FrozenTrial, Trial

from mdaf.errors import DataError, UserError
from mdaf.hydra_internals import returned
from mdaf.messages.reporting import is_user_error, one_line
from mdaf.processes.interruption import Interruption
from mdaf.sweeper.hydra_ext.run_config import is_our_schema
from mdaf.sweeper.search.points.tried_points import TAKE_VALUE, TriedPoints
from mdaf.sweeper.search.running.cluster import is_lost, runs_elsewhere
from mdaf.sweeper.search.running.job_slots import JobEnd, JobSlots
from mdaf.sweeper.search.running.jobs import Jobs
from mdaf.sweeper.search.stopping import Stopping
from mdaf.sweeper.search.telling.news import News
from mdaf.sweeper.trials.outcome import Failure, UnusableResultError
from mdaf.sweeper.trials.trials import Trials

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5  # between two reads of a study whose last trials run in other processes
LOST_IN_A_ROW = 5  # times n_jobs: if more jobs in a row are lost, the sweep ends


class TrialLoop:
    """Runs trials until the study has enough finished ones, or a criterion ends the sweep.

    ``n_jobs``            how many jobs are launched at once; if each has a process of its own, how many run at a time.
    ``tried_points``      what becomes of a trial whose run the study has had.
    ``max_failure_rate``  the greatest allowed fraction of failures among the jobs of a launch; more end the sweep. A
                          job that returned no usable value is none of them.
    """

    def __init__(
        self,
        trials: Trials,
        jobs: Jobs,
        stopping: Stopping,
        n_jobs: int,
        max_failure_rate: float,
        tried_points: str = TAKE_VALUE,
    ) -> None:
        self.trials = trials
        self.tried = TriedPoints(trials, tried_points)
        self.jobs = jobs
        self.stopping = stopping
        self.n_jobs = n_jobs
        self.max_failure_rate = max_failure_rate
        self._lost = 0  # jobs in a row
        self.news = News(trials)

    def run(self) -> None:
        """Runs the loop. However it ends, no trial of this process stays RUNNING."""
        with self.trials:
            if runs_elsewhere(self.jobs.launcher):
                self._keep_running()
            else:
                self._launch_in_turn()

    # ---- launchers that run jobs in this process, or that wait for all jobs of a launch

    def _launch_in_turn(self) -> None:
        """Launches ``n_jobs`` trials, waits for all of them, and repeats this."""
        idle = False
        while not self.trials.is_over(seen := self.trials.seen()):
            Interruption().check()  # a launcher may have suppressed the exception of a signal
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
        """Runs a job for each trial whose run is a new one, and writes the outcomes to the study."""
        begun = list(claimed)
        try:
            for trial in claimed:
                self.jobs.suggest(trial)
                if self.tried.need_no_job(trial):
                    begun.remove(trial)
            results = self.jobs.launch(begun) if begun else []
        except Exception as error:  # from the space, the launcher or the composition of a config, not from a job
            for trial in begun:
                self.trials.fail(trial, error)
            raise
        micro_batch = self.jobs.micro_batch
        failures = []
        for trial, one in zip(begun, results, strict=True):
            value = returned(one)
            if isinstance(value, Exception) and is_lost(value):
                self.trials.lost(trial, value)
                self._count_lost(value)
                continue
            self._count_lost(None)
            failure = self.trials.finish(trial, one, micro_batch)
            self.news.of(trial, failure)
            if failure is not None:
                failures.append(failure)
        self._stop_if_failing(failures, len(begun))

    def _count_lost(self, error: Exception | None) -> None:
        """Counts a job that was lost with an error, or one that was not; UserError if too many in a row were."""
        self._lost = self._lost + 1 if error is not None else 0
        if error is not None and self._lost > LOST_IN_A_ROW * self.n_jobs:
            raise UserError(f"{self._lost} jobs in a row were lost, the last one: {one_line(error)}")

    # ---- launchers that run each job in a process of its own

    def _keep_running(self) -> None:
        """Keeps ``n_jobs`` jobs running: when one ends, the next one starts. The point of a lost job is tried again."""
        slots, ending = JobSlots(self.jobs.launcher, self.n_jobs), False
        while True:
            Interruption().check()  # a launcher may have suppressed the exception of a signal
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
                error = ended.result if isinstance(ended.result, Exception) else returned(ended.result)
                self._count_lost(error if self._end(ended) else None)

    def _begin(self, trial: Trial, slots: JobSlots) -> None:
        try:
            self.jobs.suggest(trial)
            if self.tried.need_no_job(trial):
                return
            job = self.jobs.overrides_of(trial)
        except Exception as error:  # from the space, not from a job
            self.trials.fail(trial, error)
            raise
        slots.start(trial, job)

    def _end(self, ended: JobEnd) -> bool:
        """Writes a job's outcome to the study. Returns whether the job was lost."""
        trial, result = ended.trial, ended.result
        if isinstance(result, Exception) and is_lost(result):
            self.trials.lost(trial, result)
            return True
        if isinstance(result, Exception):
            failure = self.trials.fail(trial, result, self.jobs.micro_batch)
        else:
            failure = self.trials.finish(trial, result, self.jobs.micro_batch)
        self.news.of(trial, failure)
        if failure is not None and failure.interrupted:  # only this job was interrupted: the others go on
            return True
        self._stop_if_failing([failure] if failure is not None else [], 1)
        return False

    # ---- the end of the sweep

    def _reason_to_stop(self, seen: Sequence[FrozenTrial]) -> str | None:
        return self.stopping.reason(self.trials.study, seen)

    def _stop_if_failing(self, failures: Sequence[Failure], launched: int) -> None:
        """Raises a failure's error if too many jobs of a launch failed, or if all trials would fail in the same way."""
        for failure in failures:
            if failure.interrupted or self._is_mistake(failure.error):
                raise failure.error
        # As upstream does, a job that came to its end but returned no usable value is no reason to end the sweep.
        lasting = [f for f in failures if not (f.retried or isinstance(f.error, UnusableResultError))]
        if lasting and len(lasting) / launched > self.max_failure_rate:
            raise lasting[0].error

    def _is_mistake(self, error: Exception) -> bool:
        """Whether every trial would fail in this way, since what was typed is wrong.

        An error of Hydra or OmegaConf says so of our own jobs. In the job of another program it is one of its errors.
        """
        return is_user_error(error) if is_our_schema(self.jobs.config) else isinstance(error, UserError | DataError)
