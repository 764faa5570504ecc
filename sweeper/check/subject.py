"""What is checked: a model of some seed on samples of a store; and what many checks do with its scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from mdaf.data.schema import Batch
from mdaf.data.store.device_store import DeviceStore
from mdaf.model.ctr import CTRModel
from mdaf.model.layers.basic import dropout_keys, set_dropout
from mdaf.sweeper.check import samples
from mdaf.sweeper.check.finding import FaultError
from mdaf.sweeper.training.building import model_factory
from mdaf.sweeper.training.building.initialization import initialized
from mdaf.sweeper.training.optim.replica_optimizers import Update
from mdaf.sweeper.training.replicas import Hyperparameters, Replicas
from mdaf.sweeper.training.stepping.losses import cross_entropy

CPU = torch.device("cpu")
SEEDS = (1, 2, 3)
LEARNING_RATE = 1e-2
RATES = (0.2, 0.0, 0.4)  # of dropout
SHOWN = 3  # names in a sentence


@dataclass(frozen=True)
class Subject:
    """What is checked: a model, built by ``build`` with a seed, on samples of ``store``.

    ``words``  of the command, by which another process builds the same model; None: no other process is asked.
    """

    build: model_factory.Builder
    store: DeviceStore
    words: Sequence[str] | None = None

    def model(self, seed: int = SEEDS[0]) -> CTRModel:
        """The model of a seed, in training, without dropout."""
        built = initialized(self.build, seed)
        assert isinstance(built, CTRModel)
        return built

    @cached_property
    def batch(self) -> Batch:
        """A few training samples."""
        return samples.samples(self.store)

    def scores(self, batch: Batch, seed: int = SEEDS[0]) -> Tensor:
        """The logits of an evaluation, (replica, batch)."""
        with torch.no_grad():
            logits: Tensor = self.model(seed).eval()(batch).logits
        return logits

    def replicas(self, seed: int) -> Replicas:
        """A stack of this one model, ready to train."""
        point = Hyperparameters(seed, RATES[0], 0.0, 0.0, LEARNING_RATE)
        return Replicas(self.build, [point], Update(), CPU)


def draw(model: nn.Module, rates: tuple[float, ...], seeds: tuple[int, ...]) -> None:
    """Sets the dropout of each replica: its rate, and the seed that it draws from."""
    set_dropout(model, torch.tensor(rates), dropout_keys(model, seeds))


def backward(model: nn.Module, batch: Batch) -> Tensor:
    """A training step's logits, (replica, batch), detached; its gradients are in the parameters."""
    logits: Tensor = model.train()(batch).logits
    (cross_entropy(logits, batch.labels, torch.zeros(())).sum() / len(batch)).backward()
    return logits.detach()


def try_on(subject: Subject, batch: Batch) -> None:
    """Raises FaultError unless the scores and the gradients of ``batch`` are finite."""
    model = subject.model()
    refuse_not_finite(backward(model, batch))
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    if bad := [name for name, grad in grads.items() if not bool(torch.isfinite(grad).all())]:
        raise FaultError(f"the gradient of {shortened(bad)} is not finite", "look for log, sqrt or a division by 0")
    refuse_not_finite(subject.scores(batch))


def refuse_not_finite(logits: Tensor) -> None:
    """Raises FaultError for a score that is not finite."""
    if not bool(torch.isfinite(logits).all()):
        raise FaultError("a score is not finite", "look for log, sqrt, a division by 0, a softmax over nothing")


def refuse_apart(
    found: Tensor | None, expected: Tensor, what: str, mend: str = "compute each replica by its own tensors"
) -> None:
    """Raises FaultError if ``found`` is not as ``expected`` but for rounding. ``what`` they are, and how to mend it."""
    if found is None:
        raise FaultError(f"{what} is missing", mend)
    found, expected = found.detach().float(), expected.detach().float()
    if not torch.allclose(found, expected, rtol=1e-3, atol=1e-5):
        raise FaultError(f"{what}: differences up to {float((found - expected).abs().max()):.2g}", mend)


def shortened(names: list[str]) -> str:
    """At most ``SHOWN`` of the names, as the author wrote them, and how many more there are."""
    shown = [name.removeprefix("module.") for name in names]
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return ", ".join(shown[:SHOWN]) + more
