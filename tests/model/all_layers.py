"""A plain module of torch's own layers, as somebody else may write one."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor, nn

from mdaf.data.schema import Batch, Schema


class AllLayers(nn.Module):
    """Layers with parameters, buffers, dropout and tied weights; drawn in the ways that people draw weights."""

    def __init__(self, schema: Schema, width: int = 8) -> None:
        super().__init__()
        self.static, self.events = schema.static, schema.sequence
        names = dict.fromkeys(field.table for field in (*self.static, *self.events))
        self.number = {name: number for number, name in enumerate(names)}
        self.tables = nn.ModuleList(nn.Embedding(schema.tables[name], width, padding_idx=0) for name in names)
        self.conv = nn.Conv1d(width, width, 3, padding=1)
        self.gru = nn.GRU(width, width, num_layers=2, dropout=0.3, batch_first=True)
        self.attention = nn.MultiheadAttention(width, 2, dropout=0.3, batch_first=True)
        self.norm = nn.BatchNorm1d(2 * width)
        self.dropout = nn.Dropout(0.3)
        self.hidden = nn.Linear(2 * width, 2 * width)
        self.tied = nn.Linear(2 * width, 2 * width)
        self.tied.weight = self.hidden.weight
        self.head = nn.Linear(2 * width, 1)
        self.scale = nn.Parameter(torch.tensor(1.0 + random.random() + float(np.random.rand())))
        self.register_buffer("seen", torch.zeros(()))
        nn.init.trunc_normal_(self.hidden.weight, std=0.3)
        nn.init.normal_(self.head.weight, std=0.5)
        nn.init.orthogonal_(self.conv.weight)

    def forward(self, batch: Batch) -> Tensor:
        static = self._read(self.static, batch.static)
        events = self._read(self.events, batch.sequence)
        valid = torch.arange(events.shape[1], device=events.device) < batch.lengths[:, None].clamp(min=1)
        attended, _ = self.attention(events, events, events, key_padding_mask=~valid, need_weights=False)
        convolved = self.conv((attended * valid[..., None]).transpose(1, 2)).transpose(1, 2)
        states, _ = self.gru(convolved)
        last = states[torch.arange(len(states)), batch.lengths.clamp(min=1) - 1]
        if self.training:
            self.seen = self.seen + 1  # assigned anew, not in place
        x = self.dropout(self.norm(torch.cat([static, last], dim=-1)))
        return self.head(self.tied(torch.relu(self.hidden(x)))).squeeze(-1) * self.scale

    def _read(self, fields: tuple, ids: dict[str, Tensor]) -> Tensor:
        return torch.stack([self.tables[self.number[f.table]](ids[f.name]) for f in fields]).sum(dim=0)
