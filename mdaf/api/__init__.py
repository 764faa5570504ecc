"""What ``import mdaf`` offers beside ``attach`` and ``load``: runs, sweeps, studies and reports from Python.

``run``, ``sweep`` and ``report(run=True)`` start the command that a user would type, as a child process. So the result
is the command's own, digit for digit, and nothing of Hydra, torch or the logs stays behind in the calling process.
"""
