"""What a forward pass writes into its model. Threads that share a model must not find what another one wrote."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mdaf.sweeper.check.finding import FaultError
from mdaf.sweeper.check.subject import SEEDS, Subject, backward, draw, shortened
from mdaf.sweeper.runs.checkpoint import digest
from mdaf.sweeper.training.stepping.parallel import can_share


def refuse_writes(subject: Subject) -> None:
    """Raises FaultError if a model says ``thread_safe``, and a forward pass writes an attribute or a buffer."""
    model = subject.model()
    if not can_share(model):
        return
    draw(model, (0.5,), SEEDS[:1])
    before = _content(model)
    backward(model, subject.batch)
    with torch.no_grad():
        model.eval()(subject.batch)
    after = _content(model.train())
    if written := [name for name in before | after if _mark_of(before, name) != _mark_of(after, name)]:
        raise FaultError(
            f"forward writes {shortened(written)}, and several threads would write it at once (thread_safe)",
            "keep it in a local variable of forward, or leave thread_safe = True out of the class",
        )


def _content(model: nn.Module) -> dict[str, Any]:
    """Each attribute and buffer of the modules by its path, with its mark, which no other has while it is kept."""
    found: dict[str, Any] = {}
    for path, module in model.named_modules():
        held = {name: value for name, value in vars(module).items() if name not in ("_parameters", "_modules")}
        for name, value in (held | held.pop("_buffers")).items():
            found[f"{path}.{name}".lstrip(".")] = value, _mark(value)
    return found


def _mark_of(content: dict[str, Any], name: str) -> Any:
    return content[name][1] if name in content else None


def _mark(value: Any) -> Any:
    """Something that is another one as soon as ``value`` is replaced, or changed where that can be seen."""
    if isinstance(value, Tensor):
        return id(value), digest(value)
    if isinstance(value, dict):
        return id(value), tuple((key, _mark(part)) for key, part in value.items())
    if isinstance(value, list | tuple):
        return id(value), tuple(map(_mark, value))
    if isinstance(value, set):
        return id(value), len(value)
    return id(value)
