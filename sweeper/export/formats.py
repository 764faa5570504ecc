"""The two formats of an exported model: ONNX, and PyTorch's exported program."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from mdaf.errors import UserError
from mdaf.messages.reporting import one_line
from mdaf.model.kernels.backend import reference_kernels
from mdaf.sweeper.export.inputs import Input, Scoring

OUTPUTS = ("logit", "score")
ONNX, TORCH = "onnx", "torch"
FILES = {ONNX: "model.onnx", TORCH: "model.pt2"}

Feed = Mapping[str, Tensor]


def traced(scoring: Scoring, example: Feed, inputs: list[Input], longest: int) -> ExportedProgram:
    """The model as a graph of PyTorch's own operations, whose batch and length are dynamic.

    ``longest``: the length of the longest history. UserError if the model cannot be traced.
    """
    axes: dict[str | int, Any] = {"batch": Dim("batch", min=1)}
    if longest > 1:
        axes["length"] = Dim("length", min=1, max=longest)
    shapes = {one.name: {n: axes[axis] for n, axis in enumerate(one.axes) if axis in axes} for one in inputs}
    try:
        with torch.no_grad(), reference_kernels(), _quietly():
            return _without_traces(torch.export.export(scoring, (dict(example),), dynamic_shapes=(shapes,)))
    except Exception as error:  # whatever a model's code or the tracer raises
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if fixed := re.match(r"Constraints violated \((.*?)\)", reason):
            reason = f"an operation of it takes the traced size of {fixed[1]} alone, expected any size"
        raise UserError(f"the model cannot be exported: {reason}") from error


def _without_traces(program: ExportedProgram) -> ExportedProgram:
    """The program without the lines of code that each operation comes from: they name folders of this machine."""
    for graph in program.graph_module.modules():
        if isinstance(graph, torch.fx.GraphModule):
            for node in graph.graph.nodes:
                node.meta.pop("stack_trace", None)
    return program


def write_torch(program: ExportedProgram, file: Path) -> None:
    """Writes the program for ``torch.export.load``."""
    with _quietly():
        torch.export.save(program, file)


def write_onnx(program: ExportedProgram, inputs: list[Input], file: Path) -> None:
    """Writes the program as ONNX. UserError if ONNX has no operator for a part of it."""
    axes = {one.name: {n: axis for n, axis in enumerate(one.axes) if isinstance(axis, str)} for one in inputs}
    try:
        with _quietly():
            converted = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=[one.name for one in inputs],
                output_names=OUTPUTS,
                dynamic_shapes=(axes,),
            )
            assert converted is not None
            converted.save(file)
    except Exception as error:
        raise UserError(f"the model cannot be written as ONNX: {one_line(error)}") from error


class TorchProgram:
    """An exported program that lies in a file, as a function of the inputs."""

    def __init__(self, file: Path) -> None:
        with _quietly():
            self._module = torch.export.load(file).module()

    def __call__(self, feed: Feed) -> list[np.ndarray]:
        """Logits and scores, (batch,) each."""
        with torch.no_grad(), _quietly():
            return [output.numpy() for output in self._module(dict(feed))]


class OnnxProgram:
    """An ONNX file as a function of the inputs, run by onnxruntime on the CPU."""

    def __init__(self, file: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        options.intra_op_num_threads = torch.get_num_threads()
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def __call__(self, feed: Feed) -> list[np.ndarray]:
        """Logits and scores, (batch,) each."""
        arrays = {name: tensor.numpy() for name, tensor in feed.items()}
        outputs: list[np.ndarray] = self._session.run(list(OUTPUTS), arrays)
        return outputs


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the remarks that torch makes about its own code and about packages that nothing here needs."""
    said = logging.getLogger("torch.onnx")
    level = said.level
    said.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        said.setLevel(level)
