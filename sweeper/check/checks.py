"""The checks, in the order in which an author would mend what they find. Each is a function that raises it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from mdaf.data.preparing.prepare import prepare_config
from mdaf.data.schema import Batch
from mdaf.data.store.device_store import DeviceStore
from mdaf.errors import text_of
from mdaf.model.ctr import CTRModel
from mdaf.model.layers.basic import dropout_keys, set_dropout
from mdaf.model.plain import PlainModel
from mdaf.model.stack import load_replica, replica_state, stack, state_of
from mdaf.sweeper.check import samples
from mdaf.sweeper.check.finding import FaultError, Finding, RemarkError
from mdaf.sweeper.training import model_factory
from mdaf.sweeper.training.initialization import initialized
from mdaf.sweeper.training.losses import cross_entropy
from mdaf.sweeper.training.optim.replica_optimizers import Update
from mdaf.sweeper.training.replicas import Hyperparameters, Replicas
from mdaf.sweeper.training.step import Stepper, StepSettings
from mdaf.terminal.progress import shown

CPU = torch.device("cpu")
SEEDS = (1, 2, 3)
RATES = (0.2, 0.0, 0.4)
SHOWN = 3  # names in a sentence
LARGE = 8.0  # times the weights that were drawn
SCORED = "each sample gets a score"  # without which no other check says anything


@dataclass(frozen=True)
class Subject:
    """What is checked: a model, built by ``build`` with a seed, on samples of ``store``."""

    build: model_factory.Builder
    store: DeviceStore

    def model(self, seed: int = SEEDS[0]) -> CTRModel:
        """The model of a seed, in training, without dropout."""
        built = initialized(self.build, seed)
        assert isinstance(built, CTRModel)
        return built

    @cached_property
    def batch(self) -> Batch:
        return samples.samples(self.store)

    def scores(self, batch: Batch, seed: int = SEEDS[0]) -> Tensor:
        """The logits of an evaluation, (replica, batch)."""
        with torch.no_grad():
            logits: Tensor = self.model(seed).eval()(batch).logits
        return logits

    def replicas(self, seed: int) -> Replicas:
        point = Hyperparameters(seed, RATES[0], 0.0, 0.0, 1e-2)
        return Replicas(self.build, [point], Update(), CPU)


def findings(config: DictConfig) -> list[Finding]:
    """What each check says of the model and the source of a config. UserError or DataError if they cannot be tried."""
    trained = model_factory.by_gradient(config.model)
    with shown() as progress:
        store = prepare_config(config.data, progress)
    model_factory.decide_fields(config, store)
    build = model_factory.builder(config.model, store.schema)
    subject = Subject(build, DeviceStore(store, CPU))
    found = list(_found(subject, {"it is built": built}))
    if found[0].is_wrong or not trained:
        return found
    for finding in _found(subject, CHECKS):
        found.append(finding)
        if finding.is_wrong and finding.check == SCORED:
            break
    return found


def _found(subject: Subject, checks: dict[str, Callable[[Subject], str | None]]) -> Iterator[Finding]:
    for name, check in checks.items():
        try:
            yield Finding(name, said=check(subject) or "")
        except FaultError as fault:
            yield Finding(name, fault.result, fault.said, fault.mend)
        except Exception as error:  # code of somebody else may raise anything
            said = " ".join(text_of(error).split()) or type(error).__name__
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            yield Finding(name, "WRONG", f"{kind}{said}", _where(error))


def _where(error: Exception) -> str:
    """The last line outside of torch and this package that the error went through."""
    place, frame = "", error.__traceback__
    while frame is not None:
        name = frame.tb_frame.f_globals.get("__name__", "")
        if not name.startswith(("torch", "mdaf")):
            place = f"{frame.tb_frame.f_code.co_filename}, line {frame.tb_lineno}"
        frame = frame.tb_next
    return place


def built(subject: Subject) -> str:
    """What it is and how large."""
    model = subject.model()
    tensors = state_of(model)
    count = sum(tensor.numel() for tensor in tensors.values() if isinstance(tensor, nn.Parameter))
    buffers = sum(not isinstance(tensor, nn.Parameter) for tensor in tensors.values())
    kind = "a plain torch.nn.Module" if isinstance(model, PlainModel) else "a model with the replica axis"
    return f"{kind}; {count:,} parameters{f' and {buffers} buffers' if buffers else ''}"


def seed_decides(subject: Subject) -> str | None:
    """The same seed gives the same weights, another seed others."""
    one, again, other = (state_of(subject.model(seed)) for seed in (SEEDS[0], SEEDS[0], SEEDS[1]))
    if unequal := [name for name in one if not torch.equal(one[name], again[name])]:
        raise FaultError(
            f"the same seed gives other values for {_names(unequal)}",
            "draw with torch, random or numpy.random; numpy.random.default_rng() needs a seed",
        )
    drawn = [name for name, tensor in one.items() if tensor.numel() > 1 and len(tensor.unique()) > 1]
    fixed = [name for name in drawn if torch.equal(one[name], other[name])]
    if drawn and fixed == drawn:
        raise FaultError("another seed gives the same weights", "leave torch.manual_seed out of the constructor")
    if fixed:
        raise RemarkError(f"{_names(fixed)}: not drawn from the seed", "nothing, if these values are meant to be fixed")
    return None


def scores_samples(subject: Subject) -> str:
    """A finite logit a sample, in training and in an evaluation, through which the weights can learn."""
    logits = subject.model()(subject.batch).logits
    if logits.shape != subject.batch.labels.shape:
        raise FaultError(f"logits {tuple(logits.shape)}", f"give {tuple(subject.batch.labels.shape)}: (replica, batch)")
    _finite(logits)
    if not logits.requires_grad:
        raise FaultError("the scores have no gradient, so nothing can be learned", "leave out .detach() and no_grad")
    _finite(subject.scores(subject.batch))
    return f"{logits.shape[1]} samples"


def logits_not_probabilities(subject: Subject) -> None:
    """With large weights of either sign scores leave the range of probabilities."""
    for factor in (-LARGE, LARGE):
        model = subject.model().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(factor)
            logits = model(subject.batch).logits
        if not bool(((logits >= 0) & (logits <= 1)).all()):
            return
    raise FaultError("all scores are between 0 and 1, whatever the weights", "give logits: leave out the last sigmoid")


def gradients(subject: Subject) -> None:
    """Every parameter gets a gradient, and all are finite."""
    model = subject.model()
    _backward(model, subject.batch)
    named = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    if bad := [name for name, grad in named.items() if grad is not None and not bool(torch.isfinite(grad).all())]:
        raise FaultError(f"the gradient of {_names(bad)} is not finite", "look for log, sqrt or a division by 0")
    if without := [name for name, grad in named.items() if grad is None or not bool(grad.any())]:
        raise RemarkError(
            f"{_names(without)}: no gradient from these samples",
            "leave out what forward does not read; it never learns",
        )


def lock_step(subject: Subject) -> str:
    """Replicas in one stack score and learn as alone, with dropout."""
    models = [subject.model(seed) for seed in SEEDS]
    stacked, batch = stack(models), samples.samples(subject.store, len(SEEDS))
    _draw(stacked, RATES, SEEDS)
    together = _backward(stacked, batch)
    found = dict(stacked.named_parameters())
    for k, model in enumerate(models):
        _draw(model, RATES[k : k + 1], SEEDS[k : k + 1])
        own = _backward(model, samples.part(batch, k))
        _close(together[k], own[0], "the scores")
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                stacked_grad = found[name].grad
                grad = None if stacked_grad is None else stacked_grad[k]
                _close(grad, parameter.grad[0], f"the gradient of {name}")
        theirs = replica_state(stacked, k)
        for name, tensor in replica_state(model, 0).items():
            _close(theirs[name], tensor, name)
    return f"{len(SEEDS)} replicas"


def dropout(subject: Subject) -> str | None:
    """regularization.dropout decides all that is random in training."""
    found = {}
    for rate in (0.0, 0.5):
        for seed in SEEDS[:2]:
            model = subject.model()
            _draw(model, (rate,), (seed,))
            with torch.no_grad():
                found[rate, seed] = model.train()(subject.batch).logits
    if not torch.equal(found[0.0, SEEDS[0]], found[0.0, SEEDS[1]]):
        raise RemarkError(
            "training draws random numbers with regularization.dropout=0, too", "use torch.nn.Dropout for dropout"
        )
    if torch.equal(found[0.5, SEEDS[0]], found[0.0, SEEDS[0]]):
        raise RemarkError(
            "regularization.dropout has no effect", "add torch.nn.Dropout, if the model is to have dropout"
        )
    return None


def same_scores_again(subject: Subject) -> None:
    """An evaluation changes nothing and draws nothing."""
    model = subject.model().eval()
    before = {name: tensor.detach().clone() for name, tensor in state_of(model).items()}
    with torch.no_grad():
        first, again = model(subject.batch).logits, model(subject.batch).logits
    if not torch.equal(first, again):
        raise FaultError("the same samples get other scores when they are scored again", "keep no state in evaluation")
    if changed := [name for name, tensor in state_of(model).items() if not torch.equal(tensor, before[name])]:
        raise FaultError(f"an evaluation changes {_names(changed)}", "change buffers only if self.training")


def empty_history(subject: Subject) -> None:
    """Users without events have finite scores and gradients."""
    _tried(subject, samples.without_history(subject.batch))


def unknown_ids(subject: Subject) -> None:
    """Ids that training has not seen are read like others."""
    _tried(subject, samples.unknown(subject.batch))


def longest_history(subject: Subject) -> str:
    """The longest histories have finite scores and gradients."""
    _tried(subject, samples.longest(subject.batch, subject.store.schema.length))
    return f"{subject.store.schema.length} events"


def neighbours(subject: Subject) -> None:
    """A sample's score does not depend on what the others in its batch hold."""
    whole, others = subject.scores(subject.batch), samples.unknown(subject.batch)
    for kept in (0, 1):
        mine = torch.arange(whole.shape[1]) % 2 == kept
        found = subject.scores(samples.mixed(subject.batch, others, mine))
        mend = "in evaluation, compute each sample by itself: no mean over the batch"
        _close(found[:, mine], whole[:, mine], "scores beside other samples", mend)


def padding(subject: Subject) -> None:
    """The padding that longer histories of a batch bring changes no score."""
    whole = subject.scores(subject.batch)
    for row in range(whole.shape[1]):
        own = subject.scores(samples.alone(subject.batch, row))
        mend = "read no position from batch.lengths on: mask them, or set them to 0"
        _close(whole[:, row : row + 1], own, "scores with more padding", mend)


def labels(subject: Subject) -> None:
    """The score does not know the label."""
    other = replace(subject.batch, labels=1 - subject.batch.labels)
    if not torch.equal(subject.scores(other), subject.scores(subject.batch)):
        raise FaultError(
            "the score depends on batch.labels, which is what it is to predict", "do not read batch.labels"
        )


def resuming(subject: Subject) -> str:
    """A model that was saved after two steps takes the third like one that went on."""
    going, fresh = subject.replicas(SEEDS[0]), subject.replicas(SEEDS[0])
    steps = [_stepper(replicas, subject.store) for replicas in (going, fresh)]
    for number in range(2):
        steps[0](number)
    file = io.BytesIO()
    torch.save([replica_state(going.model, 0), going.optimizer_state(0)], file)
    file.seek(0)
    weights, optimizers = torch.load(file, weights_only=True)
    load_replica(fresh.model, 0, weights)
    fresh.load_optimizer_state(0, optimizers)
    for step in steps:
        step(2)
    theirs = state_of(fresh.model)
    if unequal := [name for name, tensor in state_of(going.model).items() if not torch.equal(tensor, theirs[name])]:
        raise FaultError(
            f"after it was saved and loaded, a step gives other values for {_names(unequal)}",
            "keep what changes in training in buffers (register_buffer), not in Python attributes",
        )
    return f"{len(weights)} tensors in a checkpoint"


def micro_batches(subject: Subject) -> str:
    """The gradient of a batch in pieces is that of the whole batch, where the model says so."""
    if not subject.model().separable:
        return "a batch is always computed as a whole"
    whole, pieces = subject.replicas(SEEDS[0]), subject.replicas(SEEDS[0])
    for replicas, size in ((whole, None), (pieces, 3)):
        _stepper(replicas, subject.store, size)(0)
    mend = "set separable = False in the class"
    found = state_of(pieces.model)
    for name, tensor in state_of(whole.model).items():
        _close(found[name], tensor, f"{name} after a step in micro-batches", mend)
    return "the same gradient"


def half_precision(subject: Subject) -> None:
    """In bfloat16 scores stay finite."""
    model = subject.model()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(subject.batch).logits
    if not bool(torch.isfinite(logits).all()):
        raise RemarkError(
            "a score is not finite in bfloat16", "type device.precision=fp32, or compute that part in float32"
        )
    if logits.dtype != torch.float32:
        raise RemarkError(f"logits are {logits.dtype}, in which scores tie", "give logits in float32: .float()")


CHECKS: dict[str, Callable[[Subject], str | None]] = {
    "the seed decides the weights": seed_decides,
    SCORED: scores_samples,
    "scores are logits": logits_not_probabilities,
    "every parameter learns": gradients,
    "replicas in lock-step are solo runs": lock_step,
    "dropout is the config's": dropout,
    "an evaluation repeats": same_scores_again,
    "an empty history": empty_history,
    "unknown ids": unknown_ids,
    "the longest history": longest_history,
    "other samples of the batch": neighbours,
    "padding": padding,
    "labels": labels,
    "saving and going on": resuming,
    "micro-batches": micro_batches,
    "bfloat16": half_precision,
}  # fmt: skip


def _draw(model: nn.Module, rates: tuple[float, ...], seeds: tuple[int, ...]) -> None:
    set_dropout(model, torch.tensor(rates), dropout_keys(model, seeds))


def _backward(model: nn.Module, batch: Batch) -> Tensor:
    """A training step's logits, detached; its gradients are in the parameters."""
    logits: Tensor = model.train()(batch).logits
    (cross_entropy(logits, batch.labels, torch.zeros(())).sum() / len(batch)).backward()
    return logits.detach()


def _tried(subject: Subject, batch: Batch) -> None:
    model = subject.model()
    _finite(_backward(model, batch))
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    if bad := [name for name, grad in grads.items() if not bool(torch.isfinite(grad).all())]:
        raise FaultError(f"the gradient of {_names(bad)} is not finite", "look for log, sqrt or a division by 0")
    _finite(subject.scores(batch))


def _stepper(replicas: Replicas, store: DeviceStore, micro_batch: int | None = None) -> Callable[[int], object]:
    rows = samples.rows(store)
    stepper = Stepper(replicas, store, StepSettings(None, micro_batch, graphs=False))
    replicas.model.train()
    return lambda number: stepper.step(rows, number, store.schema.length)


def _finite(logits: Tensor) -> None:
    if not bool(torch.isfinite(logits).all()):
        raise FaultError("a score is not finite", "look for log, sqrt, a division by 0, a softmax over nothing")


def _close(
    found: Tensor | None, expected: Tensor, what: str, mend: str = "compute each replica by its own tensors"
) -> None:
    if found is None:
        raise FaultError(f"{what} is missing", mend)
    found, expected = found.detach().float(), expected.detach().float()
    if not torch.allclose(found, expected, rtol=1e-3, atol=1e-5):
        raise FaultError(f"{what}: differences up to {float((found - expected).abs().max()):.2g}", mend)


def _names(names: list[str]) -> str:
    shown = [name.removeprefix("module.") for name in names]
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return ", ".join(shown[:SHOWN]) + more
