"""Encoders of a sequence of vectors, which sequence branches use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn

from mdaf.model.layers.attention import Attention
from mdaf.model.layers.basic import Dropout, Embedding, FeedForward, LastToken, LayerNorm, factor_type
from mdaf.model.layers.mamba import Mamba
from mdaf.model.layers.mamba2 import Mamba2
from mdaf.model.ops.positions import take_position


class Block(nn.Module):
    """x <- LN(dropout(mixer(x)) + x); x <- LN(FFN(x) + x), the second in the ``feed_forward``."""

    def __init__(self, mixer: nn.Module, feed_forward: FeedForward, hidden: int, eps: float) -> None:
        super().__init__()
        self.mixer = mixer
        self.dropout = Dropout()
        self.mixer_norm = LayerNorm(hidden, eps)
        self.feed_forward = feed_forward

    def forward(
        self, x: Tensor, lengths: Tensor, last: Tensor | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """x (replica, batch, length, hidden) -> same; with ``last`` (replica, batch) only that position, length 1.

        ``dtype`` is the type of the result; default float32.
        """
        last_token = None if last is None else LastToken(last, take_position(x, last))
        mixed: Tensor = self.mixer(x, lengths, last_token)
        x = x if last_token is None else last_token.x
        x = self.mixer_norm(mixed, dropout=self.dropout, residual=x, dtype=dtype)
        return self.feed_forward(x, dtype)


class Encoder(nn.Module):
    """A stack of blocks: x (replica, batch, length, hidden) -> same; positions past ``lengths`` are never read.

    ``causal``  whether output t depends only on inputs up to t.
    """

    causal: ClassVar[bool] = True

    def __init__(self, blocks: Iterable[Block]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, lengths: Tensor, last: Tensor | None = None) -> Tensor:
        """All positions, or with ``last`` (replica, batch) only that one, length 1."""
        for block in self.blocks[:-1]:
            x = block(x, lengths, dtype=factor_type(x))
        return self.blocks[-1](x, lengths, last)  # nothing reads the other positions of the last block


class MambaEncoder(Encoder):
    """Mamba4Rec's layers (arXiv 2403.03900): a Mamba-1 block, then a feed-forward network four times as wide."""

    def __init__(
        self, hidden: int, longest: int, layers: int, state: int, conv: int, expand: int, scan: str = "auto"
    ) -> None:
        super().__init__(_mamba4rec_block(hidden, Mamba(hidden, state, conv, expand, scan)) for _ in range(layers))


class Mamba2Encoder(Encoder):
    """Mamba4Rec's layers with the Mamba-2 block in the place of Mamba-1's."""

    def __init__(
        self, hidden: int, longest: int, layers: int, state: int, conv: int, expand: int, head: int, chunk: int
    ) -> None:
        super().__init__(
            _mamba4rec_block(hidden, Mamba2(hidden, state, conv, expand, head, chunk)) for _ in range(layers)
        )


class TransformerEncoder(Encoder):
    """BST's layers (arXiv 1905.06874): positions, then self-attention over the whole history, LeakyReLU, post-norm.

    A position is counted back from the last element, as the paper counts time back from the candidate's. Its vector is
    added to an event's: concatenated and projected, as in the paper, it would be added too.
    """

    causal: ClassVar[bool] = False

    def __init__(self, hidden: int, longest: int, layers: int, heads: int, expand: int) -> None:
        def block() -> Block:
            feed_forward = FeedForward(hidden, expand * hidden, 1e-5, "leaky_relu")
            return Block(Attention(hidden, heads), feed_forward, hidden, eps=1e-5)

        super().__init__(block() for _ in range(layers))
        self.positions = Embedding(1 + longest, hidden)

    def forward(self, x: Tensor, lengths: Tensor, last: Tensor | None = None) -> Tensor:
        back = (lengths.unsqueeze(-1) - torch.arange(x.shape[2], device=x.device)).clamp(min=0)  # 0: past the end
        return super().forward(x + self.positions(back), lengths, last)


#: Names of encoders; each is called with (hidden, longest, **its own arguments).
ENCODERS: dict[str, Callable[..., Encoder]] = {
    "mamba": MambaEncoder,
    "mamba2": Mamba2Encoder,
    "transformer": TransformerEncoder,
}


def _mamba4rec_block(hidden: int, mixer: nn.Module) -> Block:
    return Block(mixer, FeedForward(hidden, 4 * hidden, 1e-12), hidden, eps=1e-12)
