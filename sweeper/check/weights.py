"""The weights that a seed draws, in processes of their own: ``python -m mdaf.sweeper.check.weights WORDS`` prints them.

Python gives sets of strings another order in each process. A constructor that goes through one draws its layers in
another order each time, so that a seed has other weights in each run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from omegaconf import DictConfig

from mdaf.data.preparing.prepare import prepare_config
from mdaf.messages.reporting import environment_of_user
from mdaf.model.ctr import CTRModel
from mdaf.model.stack import state_of
from mdaf.sweeper.training.building import model_factory
from mdaf.sweeper.training.building.initialization import initialized

ORDERS = ("1", "2")  # of sets, as values of PYTHONHASHSEED
SECONDS = 120.0  # after which a process is given up

Figures = dict[str, tuple[float, float]]  # name -> sum and norm


def figures(model: CTRModel) -> Figures:
    """Each parameter and buffer by name, as the sum and the norm of its values."""
    tensors = {name: tensor.detach().double() for name, tensor in state_of(model).items()}
    return {name: (float(tensor.sum()), float(tensor.norm())) for name, tensor in tensors.items()}


def apart(one: Figures, other: Figures) -> list[str]:
    """The names whose values differ by more than rounding."""

    def is_same(mine: tuple[float, float], found: Sequence[float]) -> bool:
        return all(repr(a) == repr(b) or abs(a - b) <= 1e-4 * (1 + mine[1]) for a, b in zip(mine, found, strict=True))

    return [name for name, mine in one.items() if name not in other or not is_same(mine, other[name])]


def in_other_processes(words: Sequence[str]) -> list[Figures]:
    """The figures of the same model and seed in processes with other orders of sets; [] where these cannot build it.

    ``words``  as they were typed after ``mdaf check``
    """
    command = [sys.executable, "-m", __name__, *words]
    started = [
        subprocess.Popen(
            command,
            env=environment_of_user() | {"PYTHONHASHSEED": order},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for order in ORDERS
    ]
    try:
        printed = [process.communicate(timeout=SECONDS)[0] for process in started]
    except subprocess.TimeoutExpired:
        return []
    finally:
        for process in started:
            process.kill()
    if any(process.returncode for process in started):
        return []
    return [json.loads(text.splitlines()[-1]) for text in printed]


def of_config(config: DictConfig, seed: int) -> Figures:
    """The figures of a config's model with this seed."""
    store = prepare_config(config.data)
    model_factory.decide_fields(config, store)
    model = initialized(model_factory.builder(config.model, store.schema), seed)
    assert isinstance(model, CTRModel)
    return figures(model)


if __name__ == "__main__":
    from mdaf.sweeper.check.__main__ import composed
    from mdaf.sweeper.check.subject import SEEDS

    answer, sys.stdout = sys.stdout, sys.stderr  # what the model prints, also at the end, is no part of the answer
    print(json.dumps(of_config(composed(sys.argv[1:]), SEEDS[0])), file=answer)
