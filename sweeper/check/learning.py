"""Checks of learning: seeds, gradients, replicas in lock-step, dropout, checkpoints and micro-batches."""

from __future__ import annotations

import io
from collections.abc import Callable

import torch
from torch import Tensor

from mdaf.data.store.device_store import DeviceStore
from mdaf.model.stack import load_replica, replica_state, stack, state_of
from mdaf.sweeper.check import samples, weights
from mdaf.sweeper.check.finding import FaultError, RemarkError
from mdaf.sweeper.check.subject import LEARNING_RATE, RATES, SEEDS, Subject, backward, draw, refuse_apart, shortened
from mdaf.sweeper.check.written import refuse_writes
from mdaf.sweeper.training.replicas import Replicas
from mdaf.sweeper.training.stepping.step import Stepper, StepSettings


def seed_decides(subject: Subject) -> str | None:
    """The same seed gives the same weights, in every process, and another seed gives others."""
    one, again, other = (state_of(subject.model(seed)) for seed in (SEEDS[0], SEEDS[0], SEEDS[1]))
    if unequal := [name for name in one if not torch.equal(one[name], again[name])]:
        raise FaultError(
            f"the same seed gives other values for {shortened(unequal)}",
            "draw with torch, random or numpy.random; numpy.random.default_rng() needs a seed",
        )
    mine = weights.figures(subject.model(SEEDS[0]))
    for elsewhere in weights.in_other_processes(subject.words) if subject.words is not None else ():
        if apart := weights.apart(mine, elsewhere):
            raise FaultError(
                f"the same seed gives other values in another process for {shortened(apart)}",
                "go through lists or dict.fromkeys(...), not sets, whose order differs from process to process",
            )
    drawn = [name for name, tensor in one.items() if tensor.numel() > 1 and len(tensor.unique()) > 1]
    fixed = [name for name in drawn if torch.equal(one[name], other[name])]
    if drawn and fixed == drawn:
        raise FaultError("another seed gives the same weights", "leave torch.manual_seed out of the constructor")
    if fixed:
        raise RemarkError(
            f"{shortened(fixed)}: not drawn from the seed", "nothing, if these values are meant to be fixed"
        )
    return None


def gradients(subject: Subject) -> None:
    """Every parameter gets a gradient, and all are finite."""
    model = subject.model()
    backward(model, subject.batch)
    named = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    if bad := [name for name, grad in named.items() if grad is not None and not bool(torch.isfinite(grad).all())]:
        raise FaultError(f"the gradient of {shortened(bad)} is not finite", "look for log, sqrt or a division by 0")
    if without := [name for name, grad in named.items() if grad is None or not bool(grad.any())]:
        raise RemarkError(
            f"{shortened(without)}: no gradient from these samples",
            "leave out what forward does not read; it never learns",
        )


def lock_step(subject: Subject) -> str:
    """Replicas in one stack score and learn as alone, with dropout."""
    models = [subject.model(seed) for seed in SEEDS]
    stacked, batch = stack(models), samples.samples(subject.store, len(SEEDS))
    draw(stacked, RATES, SEEDS)
    together = backward(stacked, batch)
    found = dict(stacked.named_parameters())
    for k, model in enumerate(models):
        draw(model, RATES[k : k + 1], SEEDS[k : k + 1])
        own = backward(model, samples.part(batch, k))
        refuse_apart(together[k], own[0], "the scores")
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                stacked_grad = found[name].grad
                grad = None if stacked_grad is None else stacked_grad[k]
                refuse_apart(grad, parameter.grad[0], f"the gradient of {name}")
        theirs = replica_state(stacked, k)
        for name, tensor in replica_state(model, 0).items():
            refuse_apart(theirs[name], tensor, name)
    return f"{len(SEEDS)} replicas"


def dropout(subject: Subject) -> str | None:
    """regularization.dropout decides all that is random in training."""
    found = {}
    for rate in (0.0, 0.5):
        for seed in SEEDS[:2]:
            model = subject.model()
            draw(model, (rate,), (seed,))
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
            f"after it was saved and loaded, a step gives other values for {shortened(unequal)}",
            "keep what changes in training in buffers (register_buffer), not in Python attributes",
        )
    return f"{len(weights)} tensors in a checkpoint"


def micro_batches(subject: Subject) -> str:
    """The gradient of a batch in pieces is the whole batch's, and threads can share it, where the model says so."""
    refuse_writes(subject)
    if not subject.model().separable:
        return "a batch is always computed as a whole"
    whole, pieces = subject.replicas(SEEDS[0]), subject.replicas(SEEDS[0])
    for replicas, size in ((whole, None), (pieces, 3)):
        _stepper(replicas, subject.store, size)(0)
    before, found = state_of(subject.replicas(SEEDS[0]).model), state_of(pieces.model)
    for name, tensor in state_of(whole.model).items():
        if not _is_rounding(found[name].float() - tensor.float(), tensor.float() - before[name].float()):
            mend = "set separable = False in the class"
            refuse_apart(found[name], tensor, f"{name} after a step in micro-batches", mend)
    return "the same gradient"


def _is_rounding(apart: Tensor, step: Tensor) -> bool:
    """Whether two steps of a tensor differ by ``apart`` since sums were rounded otherwise.

    Adam moves a weight by up to the learning rate however small its gradient is, and so its rounding. A wrong gradient
    turns many weights another way: by more than a hundredth of the tensor's ``step``, and a tenth of the learning rate.
    """
    return bool(apart.norm() <= 0.01 * step.norm()) or bool(apart.abs().max() <= 0.1 * LEARNING_RATE)


def _stepper(replicas: Replicas, store: DeviceStore, micro_batch: int | None = None) -> Callable[[int], object]:
    rows = samples.rows(store)
    stepper = Stepper(replicas, store, StepSettings(None, micro_batch, graphs=False))
    replicas.model.train()
    return lambda number: stepper.step(rows, number, store.schema.length)
