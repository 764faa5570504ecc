"""Samplers whose random draws are a function of the seed and the trial's number alone.

Optuna seeds a sampler once, when it is made. Then a sweep that goes on repeats the draws of its beginning, and two
processes that start together propose the same points. Here the sampler is seeded again for every trial, so that
neither happens, and a sweep that was killed proposes what it would have proposed.
"""

from __future__ import annotations

from optuna.samplers import BaseSampler, QMCSampler
from optuna.samplers._lazy_random_state import LazyRandomState

from data.streams import stream_seed


def reseed(sampler: BaseSampler, seed: int | None, trial_number: int) -> None:
    """Seeds the generators of a sampler, and of the samplers inside it, for one trial; not without a seed.

    A quasi-random sampler gets the point of its sequence that has the trial's number: Optuna counts the points in the
    study by reading and then writing, so that processes which ask at the same time get the same one.
    """
    if isinstance(sampler, QMCSampler):
        sampler._find_sample_id = lambda study, search_space: trial_number  # type: ignore[method-assign]
    for name, part in vars(sampler).items():
        if isinstance(part, LazyRandomState) and seed is not None:
            stream = stream_seed(seed, "sampler", type(sampler).__name__, name, trial_number)
            part.rng.seed(stream % 2**32)
        elif isinstance(part, BaseSampler):
            reseed(part, seed, trial_number)
