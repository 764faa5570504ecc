"""Stand-ins for the objective of a sweep, on which searches and verdicts are simulated."""
