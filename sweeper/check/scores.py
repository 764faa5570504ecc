"""Checks of scores: what they depend on, and that they are logits, finite and the same again."""

from __future__ import annotations

from dataclasses import replace

import torch

from mdaf.model.stack import state_of
from mdaf.sweeper.check import samples
from mdaf.sweeper.check.finding import FaultError, RemarkError
from mdaf.sweeper.check.subject import Subject, refuse_apart, refuse_not_finite, shortened, try_on

LARGE = 8.0  # times the weights that were drawn


def scores_samples(subject: Subject) -> str:
    """A finite logit a sample, in training and in an evaluation, through which the weights can learn."""
    logits = subject.model()(subject.batch).logits
    if logits.shape != subject.batch.labels.shape:
        raise FaultError(f"logits {tuple(logits.shape)}", f"give {tuple(subject.batch.labels.shape)}: (replica, batch)")
    refuse_not_finite(logits)
    if not logits.requires_grad:
        raise FaultError("the scores have no gradient, so nothing can be learned", "leave out .detach() and no_grad")
    refuse_not_finite(subject.scores(subject.batch))
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


def same_scores_again(subject: Subject) -> None:
    """An evaluation changes nothing and draws nothing."""
    model = subject.model().eval()
    before = {name: tensor.detach().clone() for name, tensor in state_of(model).items()}
    with torch.no_grad():
        first, again = model(subject.batch).logits, model(subject.batch).logits
    if not torch.equal(first, again):
        raise FaultError("the same samples get other scores when they are scored again", "keep no state in evaluation")
    if changed := [name for name, tensor in state_of(model).items() if not torch.equal(tensor, before[name])]:
        raise FaultError(f"an evaluation changes {shortened(changed)}", "change buffers only if self.training")


def empty_history(subject: Subject) -> None:
    """Users without events have finite scores and gradients."""
    try_on(subject, samples.without_history(subject.batch))


def unknown_ids(subject: Subject) -> None:
    """Ids that training has not seen are read like others."""
    try_on(subject, samples.unknown(subject.batch))


def longest_history(subject: Subject) -> str:
    """The longest histories have finite scores and gradients."""
    try_on(subject, samples.longest(subject.batch, subject.store.schema.length))
    return f"{subject.store.schema.length} events"


def neighbours(subject: Subject) -> None:
    """A sample's score does not depend on what the others in its batch hold."""
    whole, others = subject.scores(subject.batch), samples.unknown(subject.batch)
    for kept in (0, 1):
        mine = torch.arange(whole.shape[1]) % 2 == kept
        found = subject.scores(samples.mixed(subject.batch, others, mine))
        mend = "in evaluation, compute each sample by itself: no mean over the batch"
        refuse_apart(found[:, mine], whole[:, mine], "scores beside other samples", mend)


def padding(subject: Subject) -> None:
    """The padding that longer histories of a batch bring changes no score."""
    whole = subject.scores(subject.batch)
    for row in range(whole.shape[1]):
        own = subject.scores(samples.alone(subject.batch, row))
        mend = "read no position from batch.lengths on: mask them, or set them to 0"
        refuse_apart(whole[:, row : row + 1], own, "scores with more padding", mend)


def labels(subject: Subject) -> None:
    """The score does not know the label."""
    other = replace(subject.batch, labels=1 - subject.batch.labels)
    if not torch.equal(subject.scores(other), subject.scores(subject.batch)):
        raise FaultError(
            "the score depends on batch.labels, which is what it is to predict", "do not read batch.labels"
        )


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
