"""Nested tensors as a few long ones."""

from __future__ import annotations

import pytest
import torch

from mdaf.sweeper.runs.packing import pack, unpack

NESTED = {
    "table": torch.arange(6.0).reshape(2, 3),
    "states": [{"step": torch.tensor(4.0), "betas": (0.9, 0.999)}, {}],
    "place": torch.tensor([[3], [-1]]),
    "none": torch.empty(0, 5),
    "name": "x",
}


def test_what_is_unpacked_is_what_was_packed() -> None:
    found = unpack(pack(NESTED))
    assert found.keys() == NESTED.keys()
    assert (found["name"], found["states"][0]["betas"], found["states"][1]) == ("x", (0.9, 0.999), {})
    pairs = [(found[name], NESTED[name]) for name in ("table", "place", "none")]
    for ours, theirs in [*pairs, (found["states"][0]["step"], torch.tensor(4.0))]:
        assert isinstance(theirs, torch.Tensor)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        assert torch.equal(ours, theirs)


def test_all_tensors_of_a_type_become_one_in_their_order() -> None:
    floats, integers = pack(NESTED)["values"]
    assert floats.tolist() == [0, 1, 2, 3, 4, 5, 4]
    assert integers.tolist() == [3, -1]


def test_what_is_packed_is_a_copy() -> None:
    weight = torch.ones(3)
    packed = pack({"weight": weight})
    weight.zero_()
    assert unpack(packed)["weight"].tolist() == [1, 1, 1]


def test_what_has_no_tensors_has_no_values() -> None:
    assert pack([])["values"] == []
    assert unpack(pack([{"step": 3}])) == [{"step": 3}]


def test_a_form_that_takes_more_than_there_is_is_refused() -> None:
    packed = pack({"weight": torch.ones(3)})
    with pytest.raises(RuntimeError, match="shape"):
        unpack({**packed, "form": {"weight": torch.Size([4])}})
