"""Encoders of a sequence of vectors: Mamba-1, Mamba-2 and self-attention. ``sequence.SequenceBranch`` picks one."""

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
    """x <- LN(dropout(mixer(x)) + x), then ``feed_forward``, which computes x <- LN(FFN(x) + x).

    ``mixer`` mixes positions: it is called with (x, lengths, last_token), as ``Mamba`` and ``Attention`` are.
    """

    def __init__(self, mixer: nn.Module, feed_forward: FeedForward, hidden: int, eps: float) -> None:
        super().__init__()
        self.mixer = mixer
        self.dropout = Dropout()
        self.mixer_norm = LayerNorm(hidden, eps)
        self.feed_forward = feed_forward

    def forward(
        self, x: Tensor, lengths: Tensor, last: Tensor | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """x (replica, batch, length, hidden) -> same shape; with ``last`` only that position, with length 1.

        ``lengths``, ``last``: (replica, batch) int64. ``dtype``: the type of the result; default float32.
        """
        last_token = None if last is None else LastToken(last, take_position(x, last))
        mixed: Tensor = self.mixer(x, lengths, last_token)
        x = x if last_token is None else last_token.x
        x = self.mixer_norm(mixed, dropout=self.dropout, residual=x, dtype=dtype)
        return self.feed_forward(x, dtype)


class Encoder(nn.Module):
    """A stack of blocks: x (replica, batch, length, hidden) -> same shape.

    Only the first ``lengths`` (replica, batch) positions are read.

    ``causal``  whether output t depends only on inputs up to t.
    """

    causal: ClassVar[bool] = True

    def __init__(self, blocks: Iterable[Block]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, lengths: Tensor, last: Tensor | None = None) -> Tensor:
        """All positions; with ``last`` (replica, batch) only that one, with length 1."""
        for block in self.blocks[:-1]:
            x = block(x, lengths, dtype=factor_type(x))
        return self.blocks[-1](x, lengths, last)  # only this position of the last block's output is read


class MambaEncoder(Encoder):
    """The layers of Mamba4Rec (arXiv 2403.03900): a Mamba-1 block, then a feed-forward network four times as wide.

    Arguments as in ``mamba.Mamba``; ``layers`` is the number of layers. ``longest`` is not used.
    """

    def __init__(
        self, hidden: int, longest: int, layers: int, state: int, conv: int, expand: int, scan: str = "auto"
    ) -> None:
        super().__init__(_mamba4rec_block(hidden, Mamba(hidden, state, conv, expand, scan)) for _ in range(layers))


class Mamba2Encoder(Encoder):
    """The layers of Mamba4Rec with Mamba-2 blocks instead of Mamba-1 blocks.

    Arguments as in ``mamba2.Mamba2``; ``layers`` is the number of layers. ``longest`` is not used.
    """

    def __init__(
        self, hidden: int, longest: int, layers: int, state: int, conv: int, expand: int, head: int, chunk: int
    ) -> None:
        super().__init__(
            _mamba4rec_block(hidden, Mamba2(hidden, state, conv, expand, head, chunk)) for _ in range(layers)
        )


class TransformerEncoder(Encoder):
    """The layers of BST (arXiv 1905.06874): position embeddings, then self-attention with LeakyReLU and post-norm.

    An output depends on all positions. Positions are counted backwards from the last element, as the paper counts time
    backwards from the candidate. The embedding of a position is added to the event's vector. The paper concatenates
    both and projects them, which is a sum too.

    ``longest``: the longest sequence. ``expand``: how many times wider than ``hidden`` the feed-forward network is.
    """

    causal: ClassVar[bool] = False

    def __init__(self, hidden: int, longest: int, layers: int, heads: int, expand: int) -> None:
        def block() -> Block:
            feed_forward = FeedForward(hidden, expand * hidden, 1e-5, "leaky_relu")
            return Block(Attention(hidden, heads), feed_forward, hidden, eps=1e-5)

        super().__init__(block() for _ in range(layers))
        self.positions = Embedding(1 + longest, hidden)

    def forward(self, x: Tensor, lengths: Tensor, last: Tensor | None = None) -> Tensor:
        steps = torch.arange(x.shape[2], device=x.device)
        from_end = (lengths.unsqueeze(-1) - steps).clamp(min=0)  # 0: after the last element
        return super().forward(x + self.positions(from_end), lengths, last)


#: The encoders by name. Each is called with (hidden, longest, **its own arguments).
ENCODERS: dict[str, Callable[..., Encoder]] = {
    "mamba": MambaEncoder,
    "mamba2": Mamba2Encoder,
    "transformer": TransformerEncoder,
}


def _mamba4rec_block(hidden: int, mixer: nn.Module) -> Block:
    return Block(mixer, FeedForward(hidden, 4 * hidden, 1e-12), hidden, eps=1e-12)
