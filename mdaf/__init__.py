"""mdaf-sweep: finds, confirms and reports hyperparameters. The rooms are ``mdaf.sweeper``, ``mdaf.data`` and others."""

import os

# Read once, when torch loads OpenMP, so it stands here. A thread that waits for another must sleep, not spin: beside
# any other busy process (a second worker, a browser) spinning threads keep from its core the very thread that they
# wait for, and a training step was measured to take 6 to 30 times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from mdaf.clones import refuse_two_clones

refuse_two_clones()
