"""Attention rows made by hand, for the tests of what is measured on them."""

import torch
from torch import Tensor

from inspector.model.attention_metrics import Rows


def rows_of(weights: Tensor, tokens: Tensor | None = None) -> Rows:
    """Whole causal maps [T, T] or [heads, T, T] as rows of one text; tokens differ unless given."""
    maps = weights.reshape(1, -1, *weights.shape[-2:])
    size = maps.shape[-1]
    ids = torch.arange(size) if tokens is None else tokens
    visible = torch.ones(size, size, dtype=torch.bool).tril()[None, None]
    return Rows(
        weights=maps, tokens=ids[None], seen=torch.arange(1, size + 1)[None], visible=visible
    )


def uniform_map(size: int) -> Tensor:
    """Causal attention without aim."""
    return torch.ones(size, size).tril() / torch.arange(1, size + 1)[:, None]


def mean(metric: str, rows: Rows, first: int = 1) -> float:
    """A metric's mean over the rows from `first` on."""
    from inspector.model.attention_metrics import ATTENTION_METRICS

    found = ATTENTION_METRICS[metric]
    over = torch.ones(1, 1, rows.weights.shape[2]) if found.over is None else found.over(rows)
    return float(found.of(rows)[..., first:].sum() / over[..., first:].sum())
