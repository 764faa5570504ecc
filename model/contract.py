"""What a model from outside this package must be, so that replicas, checkpoints and resuming are whole."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mdaf.model.stack import state_of

#: Attributes of any module, which hold what is registered.
_OF_ANY_MODULE = frozenset(vars(nn.Module()))
#: Layers of torch that hold parameters of somebody else.
_CONTAINERS = (nn.ParameterList, nn.ParameterDict)


def check_tensors(model: nn.Module) -> None:
    """ValueError if a tensor of ``model`` would be missing in checkpoints, or if our optimizers could not train it."""
    for path, value in _unregistered(model):
        what, instead = "a tensor", f"self.register_buffer({path.rpartition('.')[2]!r}, ...) or a torch.nn.Parameter"
        if isinstance(value, nn.Module):
            what, instead = "a module in a plain container", "torch.nn.ModuleList or ModuleDict"
        raise ValueError(f"{path} is {what} that torch does not know of, so no checkpoint would hold it; use {instead}")
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if is_lazy(tensor):
            raise ValueError(f"{name} has no shape yet; use layers that are told their sizes, not lazy ones")
        if tensor.device.type != "cpu":
            raise ValueError(f"{name} is on {tensor.device}; build the model on the CPU, from where it is moved")
        if isinstance(tensor, nn.Parameter) and tensor.requires_grad and tensor.dtype != torch.float32:
            raise ValueError(f"{name} is {tensor.dtype}, expected float32; device.precision=bf16 computes in bfloat16")
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.sparse:
            raise ValueError(f"{name} has sparse=True; leave it out: training.embedding_optimizer=lazy does the same")
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.max_norm is not None:
            raise ValueError(
                f"{name} has max_norm, by which an evaluation changes weights; scale its output in forward"
            )
        computed = [
            key for key, value in vars(module).items() if isinstance(value, Tensor) and value.grad_fn is not None
        ]
        if computed:
            raise ValueError(
                f"{name}.{computed[0]} is computed from parameters when the model is built, as "
                "torch.nn.utils.weight_norm does; use torch.nn.utils.parametrizations, or compute it in forward"
            )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError("the model has no parameter that can be trained")


def check_replica_axis(model: nn.Module) -> None:
    """ValueError if a parameter, or a buffer that is saved, of a ``CTRModel`` of one replica lacks the replica axis."""
    for name, module in model.named_modules():
        own = next(iter(module.parameters(recurse=False)), None)
        if own is not None and type(module).__module__.startswith("torch.nn.") and not isinstance(module, _CONTAINERS):
            raise ValueError(f"{name} is a torch.nn.{type(module).__name__}, which has no replica axis; {_INSTEAD}")
    for name, tensor in state_of(model).items():
        if tensor.dim() == 0 or tensor.shape[0] != 1:
            shape = tuple(tensor.shape)
            shared = "" if isinstance(tensor, nn.Parameter) else "; persistent=False for a constant that replicas share"
            raise ValueError(f"{name} has the shape {shape}, expected (1, ...): the replica axis{shared}; {_INSTEAD}")


_INSTEAD = "use mdaf.model.layers, or make the model a plain torch.nn.Module, which needs no replica axis"


def _unregistered(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Tensors and modules that are attributes, or lie in containers that are attributes, and are not registered."""
    for prefix, module in model.named_modules():
        if type(module).__module__.startswith("torch."):
            continue
        for name, value in vars(module).items():
            if name not in _OF_ANY_MODULE:
                yield from ((f"{prefix}.{name}".lstrip("."), found) for found in _within(value))


def _within(value: Any, depth: int = 0) -> Iterator[Any]:
    if isinstance(value, Tensor | nn.Module):
        yield value
    elif isinstance(value, dict | list | tuple | set) and depth < 3:
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _within(inner, depth + 1)
