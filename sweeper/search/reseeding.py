"""Seeds a sampler again for every trial, so that its draws depend only on the seed and on the draw's number.

Optuna seeds a sampler once, when it is created. So a resumed sweep would repeat the draws of its beginning, and two
processes that start at the same time would propose the same points. With a seed for each trial neither happens. A sweep
that was killed and resumed proposes the points that it would have proposed otherwise.
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

# The classes and functions in the state of CMA-ES, which Optuna pickles into the study.
OF_CMAES = frozenset(
    {("cmaes._cma", "CMA"), ("cmaes._sepcma", "SepCMA"), ("cmaes._cmawm", "CMAwM"), ("builtins", "slice")}
    | {(f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")}
    | {("numpy", name) for name in ("ndarray", "dtype")}
    | {("numpy.random._pickle", f"__{name}_ctor") for name in ("randomstate", "bit_generator")}
    | {("numpy.random._mt19937", "MT19937"), ("_codecs", "encode")}
)


class _Unpickler(pickle.Unpickler):
    """Unpickles only parts of a CMA-ES optimizer. Otherwise a study could name any code, which would then run."""

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
    except Exception as error:  # damaged bytes can raise anything
        raise UserError(f"hydra/sweeper/sampler: the state of CMA-ES in the study is damaged: {error}") from None


# From now on Optuna reads the state of CMA-ES in the attributes of trials with ``_unpickled``.
read_state_of_cmaes_by(_unpickled)


def reseed(sampler: BaseSampler, seed: int | None, draw: int) -> None:
    """Seeds the generators of a sampler, and of the samplers inside it, for one trial. Without a seed it does not.

    ``draw``  which draw of the sweep it is: the trial's number, not counting retries (``mdaf.sweeper.trials.retries``).

    A quasi-random sampler gets the point of its sequence whose index is the draw's number, also without a seed. Optuna
    counts the points in the study by a read and a later write, so processes that ask at the same time would get the
    same point.
    """
    if isinstance(sampler, QMCSampler):
        choose_point_of_sequence(sampler, draw)
    if seed is not None:
        for name, generator in generators_of(sampler):
            generator.seed(stream_seed(seed, "sampler", type(sampler).__name__, name, draw) % 2**32)
    for inner in samplers_within(sampler):
        reseed(inner, seed, draw)
