"""A plain ``nn.Module`` as a model of replicas: one replica after the other, each on its own samples.

Nothing is asked of the module but ``forward(batch) -> logits (batch,)``, with a ``Batch`` without replica axis. Each
replica is computed by exactly the operations of a run that trains it alone, so it has that run's results.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mdaf.data.schema import Batch
from mdaf.errors import UserError
from mdaf.model.contract import check_tensors
from mdaf.model.ctr import CTRModel, Output
from mdaf.model.layers.basic import Dropout
from mdaf.model.seeding import seeded

#: Layers of torch that drop out, and the attribute that holds their rate.
DROPOUTS: tuple[tuple[type[nn.Module], str], ...] = (
    *((kind, "p") for kind in (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)),
    *((kind, "p") for kind in (nn.AlphaDropout, nn.FeatureAlphaDropout)),
    *((kind, "dropout") for kind in (nn.MultiheadAttention, nn.RNNBase)),
)
#: Micro-batches of one step get distant seeds: 2^64 / golden ratio, cut to 62 bits.
_GOLDEN = 0x1E3779B97F4A7C15


class PlainModel(CTRModel):
    """``module`` with a replica axis before each of its parameters and buffers, those that are constants included.

    Its dropout layers of a rate above 0 take the rate of ``set_dropout``. Whatever it draws is drawn from the key that
    ``set_dropout`` gives to the replica.

    Raises ValueError if a checkpoint would not hold all of it.
    """

    separable = False  # normalization over a batch, or dropout, is not the same in micro-batches
    capturable = False  # it may do anything on the host

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        check_tensors(module)
        self.dropouts = [
            (path, attribute)
            for path, layer in module.named_modules()
            for kind, attribute in DROPOUTS
            if isinstance(layer, kind) and getattr(layer, attribute) > 0
        ]
        self.module = _with_replica_axis(module)
        self.places = _places(module)
        self.draws = Dropout()  # through which it is told rate and key

    def forward(self, batch: Batch) -> Output:
        """Scores each replica's samples by its own parameters and buffers, which it may change."""
        replicas = batch.labels.shape[0]
        parameters = {name: _parts(parameter) for name, parameter in self.module.named_parameters()}
        buffers = dict(self.module.named_buffers())
        outputs = []
        for k in range(replicas):
            own = {name: parts[k] for name, parts in parameters.items()}
            own |= {name: buffer[k] for name, buffer in buffers.items()}
            placed = {place: own[name] for place, name in self.places.items()}
            samples = batch.replica(k)
            self._set_rate(k)
            with seeded(self._seed(k), batch.labels.device):
                found = functional_call(self.module, placed, (samples,), tie_weights=False)
            outputs.append(_checked(found, samples, learns=self.training and torch.is_grad_enabled()))
            own |= {name: placed[name] for name in buffers}
            with torch.no_grad():
                for name, buffer in buffers.items():  # those that it has changed not in place, but assigned anew
                    if own[name].data_ptr() != buffer[k].data_ptr():
                        buffer[k].copy_(own[name])
        self._refuse_new()
        return _stacked(outputs)

    def _refuse_new(self) -> None:
        made = {name for named in (self.module.named_parameters, self.module.named_buffers) for name, _ in named()}
        if new := sorted(made - set(self.places.values())):
            raise UserError(f"model: forward has made {new[0]}, which is not trained; make it in the constructor")

    def _set_rate(self, k: int) -> None:
        if self.training and self.dropouts:
            rate = 0.0 if self.draws.rate is None else float(self.draws.rate[k])
            for path, attribute in self.dropouts:
                setattr(self.module.get_submodule(path), attribute, rate)

    def _seed(self, k: int) -> int:
        if not self.training or self.draws.key is None:
            return 0
        return (int(self.draws.key[k]) + self.draws.first * _GOLDEN) % 2**62


def _with_replica_axis(module: nn.Module) -> nn.Module:
    """``module`` itself, with an axis of one replica before each parameter and buffer; what is shared stays shared."""
    made: dict[int, Any] = {}
    for owner in module.modules():
        for name, parameter in list(owner.named_parameters(recurse=False, remove_duplicate=False)):
            stacked = nn.Parameter(parameter.detach()[None], requires_grad=parameter.requires_grad)
            setattr(owner, name, made.setdefault(id(parameter), stacked))
        for name, buffer in list(owner.named_buffers(recurse=False, remove_duplicate=False)):
            owner.register_buffer(name, made.setdefault(id(buffer), buffer.detach()[None].clone()))
    return module


def _places(module: nn.Module) -> dict[str, str]:
    """Where each parameter and buffer stands: a name of each place -> the tensor's first name.

    A layer with several names is one place, since a place must be filled, and emptied, once. A tensor that several
    layers share has a place in each of them.
    """
    first = {id(t): name for named in (module.named_parameters, module.named_buffers) for name, t in named()}
    return {
        f"{prefix}.{name}".lstrip("."): first[id(tensor)]
        for prefix, owner in module.named_modules()
        for named in (owner.named_parameters, owner.named_buffers)
        for name, tensor in named(recurse=False, remove_duplicate=False)
    }


def unstacked(model: PlainModel) -> nn.Module:
    """A copy of the module of a model with one replica, as its author wrote it: without a replica axis."""
    module = copy.deepcopy(model.module)
    made: dict[int, Any] = {}
    for owner in module.modules():
        for name, parameter in list(owner.named_parameters(recurse=False, remove_duplicate=False)):
            single = nn.Parameter(parameter.detach()[0], requires_grad=parameter.requires_grad)
            setattr(owner, name, made.setdefault(id(parameter), single))
        for name, buffer in list(owner.named_buffers(recurse=False, remove_duplicate=False)):
            owner.register_buffer(name, made.setdefault(id(buffer), buffer.detach()[0]))
    return module


def _parts(parameter: Tensor) -> tuple[Tensor, ...]:
    """Each replica's part of a parameter; their gradients are put together once, not once for each replica."""
    return (parameter.squeeze(0),) if len(parameter) == 1 else parameter.unbind()


def _checked(found: Any, samples: Batch, *, learns: bool) -> Output:
    output = found if isinstance(found, Output) else Output(found)
    expected = samples.labels.shape
    for tensor in (output.logits, output.gate, *output.branches):
        if tensor is None and output.logits is not None:
            continue
        shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        if shape != tuple(expected):
            hint = "; add .squeeze(-1)" if shape == (*expected, 1) else ""
            raise UserError(f"model: forward gave {shape}, expected logits (batch,) = {tuple(expected)}{hint}")
    if learns and not output.logits.requires_grad:
        raise UserError("model: forward gave logits without a gradient, so nothing can be learned; leave out .detach()")
    return output


def _stacked(outputs: list[Output]) -> Output:
    def stacked(part: Callable[[Output], Tensor]) -> Tensor:
        return torch.stack([part(output).float() for output in outputs])

    first = outputs[0]
    return Output(
        stacked(lambda output: output.logits),
        None if first.gate is None else stacked(lambda output: output.gate),  # type: ignore[return-value, arg-type]
        tuple(stacked(lambda output, n=n: output.branches[n]) for n in range(len(first.branches))),  # type: ignore[misc]
    )
