"""The attention map of chosen heads as records: one for each query and each key it may see."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from inspector.errors import BadOption
from inspector.model.asking import source, whole
from inspector.model.attention import MOST_BYTES
from inspector.model.attention_map import AttentionMap, Head, attention_map, without_sink
from inspector.model.load import Model
from inspector.model.texts import read_texts
from inspector.results import Records
from inspector.weights.problems import Log

MOST_PAIRS = 250_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionPair:
    """What one head gives from one token, the query, to another, the key.

    `weight` is the fraction of the query's attention, 0 to 1; `value_weighted` that times the
    length of what the key adds to the stream through this head, None where values are not seen.
    `rollout` is the fraction on all ways through all layers (Abnar & Zuidema 2020), the same for
    every head. Positions count from 0, special tokens included.
    """

    layer: int
    head: int
    query: int
    query_text: str
    key: int
    key_text: str
    weight: float
    value_weighted: float | None
    rollout: float


def attention_pairs(
    model: Model,
    text: str,
    heads: Sequence[Head],
    stack: str = "",
    sink: bool = True,
    max_bytes: int = MOST_BYTES,
    max_tokens: int | None = None,
) -> Records[AttentionPair]:
    """What `attention_map` finds as records; with `sink` False without the first token.

    Without it weights and rollout of a row are scaled to sum 1. Keys behind the query are left out
    where none can be seen. Raises BadOption for more than MOST_PAIRS.
    """
    size = read_texts(model, [text], max_tokens, Log()).longest
    backward = model.kind == "causal" or stack == "decoder"
    pairs = len(heads) * (size * (size + 1) // 2 if backward else size * size)
    if pairs > MOST_PAIRS:
        raise BadOption(
            f"The maps of {len(heads)} heads over {size} tokens are {pairs:,} pairs, more than "
            f"{MOST_PAIRS:,}. Give fewer heads, or cut the text with --max-tokens."
        )
    found = attention_map(model, text, heads, stack, max_bytes=max_bytes, max_tokens=max_tokens)
    shares = {f"{layer}.{head}": _sink(found, i) for i, (layer, head) in enumerate(found.heads)}
    if not sink:
        found = without_sink(found)
    return Records(
        command="attention-map",
        record_type=AttentionPair,
        source=source(model),
        coverage=whole(model),
        summary={
            "text": text,
            "stack": stack,
            "heads": [f"{layer}.{head}" for layer, head in found.heads],
            "tokens": list(found.tokens),
            "texts": list(found.texts),
            "sink": sink,
            "sink_mass": shares,
            "flow": None if found.flow is None else [float(value) for value in found.flow],
            "flow_query": found.flow_query,
            "way": found.way,
            "way_reason": found.way_reason,
        },
        records=_pairs(found, backward),
        findings=found.findings,
    )


def _sink(found: AttentionMap, head: int) -> float | None:
    """Mean share that the first token takes of all queries but its own."""
    return float(found.weights[head, 1:, 0].mean()) if len(found.tokens) > 1 else None


def _pairs(found: AttentionMap, backward: bool) -> tuple[AttentionPair, ...]:
    texts, size = found.texts, len(found.texts)
    weighted: Any = found.value_weighted
    return tuple(
        AttentionPair(
            layer=layer,
            head=head,
            query=query,
            query_text=texts[query],
            key=key,
            key_text=texts[key],
            weight=float(found.weights[i, query, key]),
            value_weighted=None if weighted is None else float(weighted[i, query, key]),
            rollout=float(found.rollout[query, key]),
        )
        for i, (layer, head) in enumerate(found.heads)
        for query in range(size)
        for key in np.arange(query + 1 if backward else size).tolist()
    )
