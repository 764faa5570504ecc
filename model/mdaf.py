"""MDAF: a static branch and a sequential branch, mixed by a gate, then a head on logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mdaf.data.schema import Batch, Schema
from mdaf.model.ctr import CTRModel, Output
from mdaf.model.dcnv3 import StaticBranch
from mdaf.model.layers.basic import Head
from mdaf.model.layers.fusion import ConcatFusion, GatedFusion
from mdaf.model.layers.parallel import both
from mdaf.model.layers.sequence import SequenceBranch


class MDAF(CTRModel):
    """DCNv3 over the static fields; over the history the encoder that ``sequence`` names.

    ``static`` and ``sequence`` are the arguments of the branches, ``fusion`` one of gate, concat, static, sequence (the
    last two leave the other branch out), ``head`` the widths of the layers before the logit, ``scan`` the backend of
    an encoder that scans.
    """

    thread_safe = True

    def __init__(
        self,
        schema: Schema,
        static: Mapping[str, Any],
        sequence: Mapping[str, Any],
        fusion: str,
        head: list[int],
        scan: str | None = None,
    ) -> None:
        super().__init__()
        dim = sequence["hidden"]
        scanning: dict[str, Any] = {} if scan is None else {"scan": scan}
        self.static = StaticBranch(schema, **static, outputs=dim) if fusion != "sequence" else None
        self.sequence = SequenceBranch(schema, **sequence, **scanning) if fusion != "static" else None
        mixers: dict[str, type[GatedFusion] | type[ConcatFusion]] = {"gate": GatedFusion, "concat": ConcatFusion}
        mixer = mixers[fusion](dim) if fusion in mixers else None
        self.fusion = mixer
        self.head = Head(mixer.outputs if mixer is not None else dim, list(head))

    def forward(self, batch: Batch) -> Output:
        if self.static is None or self.sequence is None:
            branch = self.static or self.sequence
            assert branch is not None
            return Output(self.head(branch(batch)))
        assert self.fusion is not None
        fused, gate = self.fusion(*both(self.static, self.sequence, batch))
        return Output(self.head(fused), gate)
