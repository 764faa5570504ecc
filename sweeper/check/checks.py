"""The checks, in the order in which an author would mend what they find. Each is a function that raises it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from omegaconf import DictConfig
from torch import nn

from mdaf.data.preparing.prepare import prepare_config
from mdaf.data.store.device_store import DeviceStore
from mdaf.errors import text_of
from mdaf.model.plain import PlainModel
from mdaf.model.stack import state_of
from mdaf.sweeper.check import learning, scores
from mdaf.sweeper.check.finding import FaultError, Finding
from mdaf.sweeper.check.subject import CPU, Subject
from mdaf.sweeper.training.building import model_factory
from mdaf.terminal.progress import shown

SCORED = "each sample gets a score"  # without which no other check says anything


def built(subject: Subject) -> str:
    """What it is and how large."""
    model = subject.model()
    tensors = state_of(model)
    count = sum(tensor.numel() for tensor in tensors.values() if isinstance(tensor, nn.Parameter))
    buffers = sum(not isinstance(tensor, nn.Parameter) for tensor in tensors.values())
    kind = "a plain torch.nn.Module" if isinstance(model, PlainModel) else "a model with the replica axis"
    return f"{kind}; {count:,} parameters{f' and {buffers} buffers' if buffers else ''}"


CHECKS: dict[str, Callable[[Subject], str | None]] = {
    "the seed decides the weights": learning.seed_decides,
    SCORED: scores.scores_samples,
    "scores are logits": scores.logits_not_probabilities,
    "every parameter learns": learning.gradients,
    "replicas in lock-step are solo runs": learning.lock_step,
    "dropout is the config's": learning.dropout,
    "an evaluation repeats": scores.same_scores_again,
    "an empty history": scores.empty_history,
    "unknown ids": scores.unknown_ids,
    "the longest history": scores.longest_history,
    "other samples of the batch": scores.neighbours,
    "padding": scores.padding,
    "labels": scores.labels,
    "saving and going on": learning.resuming,
    "micro-batches": learning.micro_batches,
    "bfloat16": scores.half_precision,
}  # fmt: skip


def findings(config: DictConfig, words: Sequence[str] | None = None) -> list[Finding]:
    """What each check says of the model and the source of a config. UserError or DataError if they cannot be tried.

    ``words``  from which the config was composed; with them a model of somebody else is built in other processes too.
    """
    trained = model_factory.by_gradient(config.model)
    with shown() as progress:
        store = prepare_config(config.data, progress)
    model_factory.decide_fields(config, store)
    build = model_factory.builder(config.model, store.schema)
    is_ours = build.named.__module__.startswith("mdaf.model.")
    subject = Subject(build, DeviceStore(store, CPU), None if is_ours else words)
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
