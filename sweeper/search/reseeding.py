"""Samplers whose random draws are a function of the seed and the trial's number alone.

Optuna seeds a sampler once, when it is made. Then a sweep that goes on repeats the draws of its beginning, and two
processes that start together propose the same points. Here the sampler is seeded again for every trial, so that
neither happens, and a sweep that was killed proposes what it would have proposed.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

from optuna.samplers import BaseSampler, QMCSampler

from mdaf.errors import UserError
from mdaf.streams import stream_seed
from mdaf.sweeper.storage.optuna_internals import (
    choose_point_of_sequence,
    generators_of,
    read_state_of_cmaes_by,
    samplers_within,
)

# What the state that CMA-ES pickles into the study is made of.
OF_CMAES = frozenset(
    {("cmaes._cma", "CMA"), ("cmaes._sepcma", "SepCMA"), ("cmaes._cmawm", "CMAwM"), ("builtins", "slice")}
    | {(f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")}
    | {("numpy", name) for name in ("ndarray", "dtype")}
    | {("numpy.random._pickle", f"__{name}_ctor") for name in ("randomstate", "bit_generator")}
    | {("numpy.random._mt19937", "MT19937"), ("_codecs", "encode")}
)


class _Unpickler(pickle.Unpickler):
    """Makes nothing but the parts of a CMA-ES optimizer: whoever writes in a study could name any code else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in OF_CMAES:
            raise UserError(
                f"hydra/sweeper/sampler: the study holds a state of CMA-ES that names {module}.{name}, which is no "
                "part of one; expected what Optuna wrote; choose another sampler, or another study"
            )
        return super().find_class(module, name)


def _unpickled(state: bytes) -> Any:
    try:
        return _Unpickler(io.BytesIO(state)).load()
    except UserError:
        raise
    except Exception as error:  # whatever bytes that somebody else wrote make of the reader
        raise UserError(f"hydra/sweeper/sampler: the state of CMA-ES in the study is damaged: {error}") from None


# Optuna unpickles that state from the attributes of the study's trials.
read_state_of_cmaes_by(_unpickled)


def reseed(sampler: BaseSampler, seed: int | None, trial_number: int) -> None:
    """Seeds the generators of a sampler, and of the samplers inside it, for one trial; not without a seed.

    A quasi-random sampler gets the point of its sequence that has the trial's number: Optuna counts the points in the
    study by reading and then writing, so that processes which ask at the same time get the same one.
    """
    if isinstance(sampler, QMCSampler):
        choose_point_of_sequence(sampler, trial_number)
    if seed is not None:
        for name, generator in generators_of(sampler):
            generator.seed(stream_seed(seed, "sampler", type(sampler).__name__, name, trial_number) % 2**32)
    for inner in samplers_within(sampler):
        reseed(inner, seed, trial_number)
