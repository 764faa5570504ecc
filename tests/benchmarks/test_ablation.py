"""The benchmark of kernels takes away exactly the kernels that it names."""

from __future__ import annotations

from unittest import mock

import pytest
import torch

from benchmarks.ablation import OPERATIONS, without
from mdaf.model import scan
from mdaf.model.kernels import conv_cpu
from mdaf.model.kernels.backend import fused_backend
from mdaf.model.ops.causal_conv import causal_conv


def test_an_operation_that_is_taken_away_is_computed_by_its_reference_alone() -> None:
    x, weight, bias = torch.randn(1, 2, 5, 3), torch.randn(1, 3, 4), torch.randn(1, 3)
    expected = causal_conv(x, weight, bias, backend="reference")
    with mock.patch.object(conv_cpu, "causal_conv", return_value=torch.zeros(1)):
        assert not causal_conv(x, weight, bias).any()
        with without(["causal_conv"]):
            assert torch.equal(causal_conv(x, weight, bias), expected)
    with without(["causal_conv"]):
        assert fused_backend("crossed", "auto", x.device, x.dtype) == "cpu"
    with without(OPERATIONS):
        assert scan.choose_backend("auto", x.device) == "chunked"
    assert scan.choose_backend("auto", x.device) == "cpu"


def test_an_unknown_operation_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(SystemExit, match="expected causal_conv, crossed"), without(["convolution"]):
        pass
