"""Attention computed in chunks of queries, each shown as it passes: no map is ever whole."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from inspector.model.attention_metrics import Rows
from inspector.model.hooks import attention_by

STREAM = "inspector_stream"
CHUNK_BYTES = 4 << 20  # of one buffer of attention rows: what stays in a core's cache
BUFFERS = 2  # of that size are held in float32, one more in a narrower dtype

Receive = Callable[[nn.Module, Rows], None]
"""Called with an attention module and its rows, chunk after chunk; keeps sums, not rows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Span:
    """Queries from `start` to `stop` and the keys from `first` to `last` that they see."""

    start: int
    stop: int
    first: int
    last: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Layout:
    """One mask of a forward, cut into chunks; holding it keeps its identity."""

    number: int
    mask: Tensor | None
    queries: int
    keys: int
    spans: tuple[_Span, ...]
    seen: Int[Tensor, "#batch queries"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """What the attention function needs to know of the forward it is part of."""

    device: torch.device
    watched: frozenset[nn.Module]
    tokens: Int[Tensor, "batch tokens"]
    receive: Receive
    chunk_bytes: int
    buffers: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    layouts: list[_Layout] = dataclasses.field(default_factory=list)
    shown: set[tuple[int, int]] = dataclasses.field(default_factory=set)

    def buffer(self, name: str, dtype: torch.dtype, *shape: int) -> Tensor:
        """Memory used again by every chunk and layer.

        Allocating anew each time leaves the allocator holding gigabytes.
        """
        size = math.prod(shape)
        room = max(size, self.chunk_bytes // 4)  # enough for any chunk, so that it never grows
        held = self.buffers.get(name)
        if held is None or held.numel() < size or held.dtype != dtype:
            self.buffers.pop(name, None)
            held = self.buffers[name] = torch.empty(room, dtype=dtype, device=self.device)
        return held[:size].view(shape)


_RUNS: dict[nn.Module, _Run] = {}  # by module, so that models may run side by side


@contextmanager
def streaming(
    network: PreTrainedModel,
    watched: Iterable[nn.Module],
    tokens: Int[Tensor, "batch tokens"],
    receive: Receive,
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[None]:
    """Within it every forward over `tokens` shows `receive` the rows of the `watched` modules.

    Use one context per forward: tokens and masks are its own. UnsupportedModel where the network
    does not take the attention function; that it was called at all is for the caller to check.
    No gradient passes through attention.
    """
    run = _Run(
        device=tokens.device,
        watched=frozenset(watched),
        tokens=tokens,
        receive=receive,
        chunk_bytes=chunk_bytes,
    )
    modules = tuple(network.modules())
    try:
        _RUNS.update(dict.fromkeys(modules, run))
        with attention_by(network, STREAM):
            yield
    finally:
        for module in modules:
            _RUNS.pop(module, None)


@torch.no_grad()
def _attend(
    module: nn.Module,
    query: Float[Tensor, "batch heads queries dim"],
    key: Float[Tensor, "batch groups keys dim"],
    value: Float[Tensor, "batch groups keys value_dim"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    position_bias: Tensor | None = None,
    **_unused: object,
) -> tuple[Float[Tensor, "batch queries heads value_dim"], None]:
    """Attention as transformers' eager functions compute it, in chunks and in reused memory.

    Query heads of a group are put below each other, so keys and values are not repeated. Key
    columns that no query of a chunk sees are left out: their weights are exactly 0.
    """
    run = _RUNS[module]
    batch, heads, queries, dim = query.shape
    groups, keys = key.shape[1], key.shape[2]
    asked = query.reshape(batch * groups, heads // groups, queries, dim)
    flat_key = key.reshape(batch * groups, keys, dim)
    flat_value = value.reshape(batch * groups, keys, -1)
    out = query.new_empty(batch, queries, heads, flat_value.shape[-1])
    layout = _layout(run, attention_mask, query, keys)
    for span in layout.spans:
        flat = (batch * groups, heads // groups * (span.stop - span.start))
        scores = run.buffer("scores", query.dtype, *flat, span.last - span.first)
        chunk = asked[:, :, span.start : span.stop].reshape(*flat, dim)
        torch.bmm(chunk, flat_key[:, span.first : span.last].mT, out=scores)
        by_head = scores.view(batch, heads, -1, span.last - span.first)
        by_head.mul_(dim**-0.5 if scaling is None else scaling)
        if softcap is not None:
            by_head.div_(softcap).tanh_().mul_(softcap)
        for added in (position_bias, attention_mask):
            if added is not None:
                by_head.add_(_cut(added, span, queries))
        weights = _softmax(run, by_head, s_aux)
        narrow = weights if scores.dtype == weights.dtype else by_head.copy_(weights)
        mixed = run.buffer("mixed", query.dtype, *flat, flat_value.shape[-1])
        torch.bmm(narrow.view_as(scores), flat_value[:, span.first : span.last], out=mixed)
        out[:, span.start : span.stop] = mixed.view(batch, heads, -1, mixed.shape[-1]).transpose(
            1, 2
        )
        if module in run.watched:
            _show(run, module, layout, span, weights, value)
    return out, None


def _softmax(
    run: _Run, scores: Float[Tensor, "batch heads queries keys"], sinks: Tensor | None
) -> Float[Tensor, "batch heads queries keys"]:
    """Rows of attention in float32; `sinks` holds a logit per head that belongs to no key.

    Rows are scaled to what that logit leaves them. The largest weight of a row is
    exp(largest score - logsumexp), which spares a pass over the row.
    """
    weights = run.buffer("weights", torch.float32, *scores.shape)
    if scores.dtype == torch.float32:
        wide = scores
    else:
        wide = run.buffer("wide", torch.float32, *scores.shape).copy_(scores)
    torch.softmax(wide, -1, out=weights)
    if sinks is not None:
        total = wide.amax(-1, keepdim=True) - weights.amax(-1, keepdim=True).log()
        weights.mul_(torch.sigmoid(total - sinks.float().view(1, -1, 1, 1)))
    return weights


def _show(
    run: _Run,
    module: nn.Module,
    layout: _Layout,
    span: _Span,
    weights: Float[Tensor, "batch heads queries keys"],
    values: Tensor,
) -> None:
    """Hand a chunk on; with what is visible in it the first time."""
    new = (layout.number, span.start) not in run.shown
    run.shown.add((layout.number, span.start))
    visible = None
    if new and layout.mask is not None:
        visible = _visible(layout.mask, span, layout.queries)
    elif new:
        visible = torch.ones((1, 1, *weights.shape[2:]), dtype=torch.bool, device=weights.device)
    scratch = "scores" if run.buffers["scores"].dtype == torch.float32 else "wide"
    run.receive(
        module,
        Rows(
            weights=weights,
            tokens=run.tokens,
            seen=layout.seen[:, span.start : span.stop],
            first_query=span.start,
            first_key=span.first,
            layout=layout.number,
            visible=visible,
            values=values,
            scratch=run.buffer(scratch, torch.float32, *weights.shape),
        ),
    )


def _layout(run: _Run, mask: Tensor | None, query: Tensor, keys: int) -> _Layout:
    """The layout of this mask, cut into chunks when it is first met."""
    batch, heads, queries, _ = query.shape
    for known in run.layouts:
        if known.mask is mask and (known.queries, known.keys) == (queries, keys):
            return known
    step = max(run.chunk_bytes // (batch * heads * keys * 4), 1)
    spans, seen = [], []
    for start in range(0, queries, step):
        span = _Span(start=start, stop=min(start + step, queries), first=0, last=keys)
        count = torch.full((1, span.stop - start), keys, device=query.device)
        if mask is not None:
            visible = _visible(mask, span, queries)
            used = visible.flatten(0, 2).any(0).nonzero()
            if len(used):
                span = dataclasses.replace(span, first=int(used[0]), last=int(used[-1]) + 1)
            count = visible[:, 0].sum(-1)
        spans.append(span)
        seen.append(count)
    made = _Layout(
        number=len(run.layouts),
        mask=mask,
        queries=queries,
        keys=keys,
        spans=tuple(spans),
        seen=torch.cat(seen, 1),
    )
    run.layouts.append(made)
    return made


def _cut(whole: Tensor, span: _Span, queries: int) -> Tensor:
    """The part of a mask or bias that a span covers; one row may stand for all queries."""
    rows = whole.expand(-1, -1, queries, -1) if whole.shape[2] == 1 else whole
    return rows[:, :, span.start : span.stop, span.first : span.last]


def _visible(mask: Tensor, span: _Span, queries: int) -> Bool[Tensor, "#batch 1 queries keys"]:
    """Where an additive mask lets a query see a key; it is the same for all heads."""
    cut = _cut(mask[:, :1], span, queries)
    return cut > torch.finfo(cut.dtype).min / 2


AttentionInterface.register(STREAM, _attend)
# Without a mask of its own name a causal model would silently see the future.
AttentionMaskInterface.register(STREAM, eager_mask)
