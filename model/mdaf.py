"""MDAF: a static branch and a sequential branch, mixed by a gate, then a head on logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from data.schema import Batch, Schema
from model.dcnv3 import StaticBranch
from model.fusion import ConcatFusion, GatedFusion
from model.layers import Head
from model.mamba4rec import SequenceBranch


@dataclass(frozen=True)
class Output:
    """``logits`` (replica, batch); ``gate`` (replica, batch), the static branch's share, if there is a gate."""

    logits: Tensor
    gate: Tensor | None = None


class MDAF(nn.Module):
    """MDAF-Mamba: DCNv3 over the static fields, Mamba4Rec over the history.

    ``static`` and ``sequence`` are the arguments of the branches, ``fusion`` one of gate, concat, static, sequence (the
    last two leave the other branch out), ``head`` the widths of the layers before the logit.
    """

    def __init__(
        self,
        schema: Schema,
        static: Mapping[str, Any],
        sequence: Mapping[str, Any],
        fusion: str,
        head: list[int],
        scan: str = "auto",
    ) -> None:
        super().__init__()
        dim = sequence["hidden"]
        self.static = StaticBranch(schema, **static, outputs=dim) if fusion != "sequence" else None
        self.sequence = SequenceBranch(schema, **sequence, scan=scan) if fusion != "static" else None
        mixers: dict[str, type[GatedFusion] | type[ConcatFusion]] = {"gate": GatedFusion, "concat": ConcatFusion}
        mixer = mixers[fusion](dim) if fusion in mixers else None
        self.fusion = mixer
        self.head = Head(mixer.outputs if mixer is not None else dim, list(head))

    def forward(self, batch: Batch) -> Output:
        static = self.static(batch.static) if self.static else None
        sequence = self.sequence(batch) if self.sequence else None
        gate = None
        if self.fusion:
            fused, gate = self.fusion(static, sequence)
        else:
            fused = static if static is not None else sequence
        return Output(self.head(fused), gate)
