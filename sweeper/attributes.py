"""Names of the user attributes that a sweep and its jobs write on trials and studies."""

from __future__ import annotations

# ---- of a trial: who holds it
WORKER = "worker"  # the process that asked for it, as host:pid:start
JOB = "job"  # the process that trains it, where that is another one
LEASE_EXPIRES = "lease_expires"  # unix seconds by the holder's clock; every renewal changes it

# ---- of a trial: how it came about
POINT = "point"  # the name of the known point that it is
ENQUEUED_AS = "enqueued_as"  # the key under which it was put in line
RETRY_OF = "retry_of"  # the number of the trial whose point this one tries again
RETRY_OVERRIDES = "retry_overrides"  # what a retry sets besides its point
DEATHS = "deaths"  # how many trials of this point died before
OVERRIDES = "overrides"  # what every job of its sweep got as it is

# ---- of a trial: how it ended
OUTCOME = "outcome"  # state and values, by a job in a process of its own: in case nobody is there to tell the study
DIED = "died"  # why it was given up
WITHDRAWN = "withdrawn"  # why it ended before it began: another one has its place
RETRY = "retry"  # it is to be tried again: the user attributes that its retry gets
ERROR = "error"  # type and message of what made it fail
TRACEBACK = "traceback"  # where
MICRO_BATCH = "micro_batch"  # samples per forward pass that its job used

# ---- of a trial, among its system attributes: the storage's calls, so that one whose answer was lost can be repeated
MADE_BY = "made_by"  # the call that made it; of a study, too
CHANGED_BY = "changed_by"  # the call that last changed its state

# ---- of a study: what its trials have in common; each but the last a mapping as JSON
OBJECTIVE = "objective"  # the names of what the job returns, whether each is maximized, the constraints
MEANINGS = "space"  # parameter -> what it is
CONFIG = "common_config"  # the config of every job outside the searched parameters, flat
DATA_HASH = "data_hash"
