"""Whether config.json and the tensors agree about sizes and dtype."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from inspector.results import show_plain
from inspector.weights.architecture import Placement
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.formats import FORMATS
from inspector.weights.header import TensorEntry
from inspector.weights.sizes import read_sizes, text_config

DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64"}
TABLES = (("embedding", "embedding"), ("unembedding", "weight"), ("unembedding", "embedding"))
INNER = ("intermediate_size", "ffn_dim", "n_inner", "d_ff", "hidden_dim")
# Parts of a name that say that a matrix is not sized by the model's one vocabulary, width or inner
# width: factors of a query, bridges between widths, experts of their own size.
OTHER_SIZES = ("q_b_proj", "project", "shared_expert")

Disagreement = tuple[str, str, dict[str, Any]]
"""Where, what is said, evidence."""


def disagreements(checkpoint: Checkpoint) -> Iterator[Disagreement]:
    """Sizes and dtype that config.json states and the tensors do not have.

    Looked at where names tell the role for certain: vocabulary, width, inner width and dtype. What
    is absent is for the architecture to say. Nothing without a config.
    """
    if checkpoint.config is None:
        return
    config = text_config(checkpoint.config)
    placements = checkpoint.architecture.placements
    named = [
        (entry, placements[entry.name])
        for entry in checkpoint.tensors
        if len(entry.shape) == 2
        and placements[entry.name].stack not in ("vision", "audio")
        and placements[entry.name].kind in ("weight", "embedding")
        and not any(part in entry.name for part in OTHER_SIZES)
    ]
    yield from _vocabulary(config, named)
    yield from _widths(config, named)
    yield from _dtype(checkpoint.config, config, checkpoint.tensors)


def _whole(config: Any, *keys: str) -> int | None:
    return next((config[k] for k in keys if type(config.get(k)) is int and config[k] > 0), None)


def _sizes(config: Any, *words: str) -> set[int]:
    """All whole numbers that keys with one of these words in them state."""
    return {v for k, v in config.items() if type(v) is int and any(word in k for word in words)}


def _vocabulary(
    config: Any, named: Sequence[tuple[TensorEntry, Placement]]
) -> Iterator[Disagreement]:
    stated, known = _whole(config, "vocab_size"), _sizes(config, "vocab_size")
    for entry, placement in named:
        if (placement.role, placement.kind) in TABLES and stated and entry.shape[0] not in known:
            told = f"it has {entry.shape[0]:,} rows, the config's vocab_size is {stated:,}"
            yield entry.name, told, {"stated": stated, "stored": entry.shape[0]}


def _widths(config: Any, named: Sequence[tuple[TensorEntry, Placement]]) -> Iterator[Disagreement]:
    hidden, inner = read_sizes(config, None).hidden, _whole(config, *INNER)
    # a few families have blocks of a second size, which their configs state too
    widths = {hidden} | _sizes(config, "hidden_size", "bottleneck_size")
    inners = {inner} | _sizes(config, "intermediate_size", "ffn_dim")
    for entry, placement in named:
        if placement.expert is not None:
            continue
        turned = placement.orientation == "in_out"
        rows, columns = entry.shape[::-1] if turned else entry.shape
        # an embedding may be narrower than the model on purpose, a position table cannot tell
        if placement.role in ("q", "up", "gate") and hidden and columns not in widths:
            told = f"it takes {columns:,} inputs, the config's width is {hidden:,}"
            yield entry.name, told, {"stated": hidden, "stored": columns}
        if placement.role == "up" and inner and rows not in inners and not placement.experts:
            told = f"it has {rows:,} units, the config's inner width is {inner:,}"
            yield entry.name, told, {"stated": inner, "stored": rows}


def _dtype(outer: Any, config: Any, entries: Sequence[TensorEntry]) -> Iterator[Disagreement]:
    stated = next((c[k] for c in (config, outer) for k in ("dtype", "torch_dtype") if k in c), None)
    expected = DTYPES.get(stated) if isinstance(stated, str) else None
    floats: Counter[str] = Counter()
    for entry in entries:
        if entry.dtype in FORMATS and FORMATS[entry.dtype].kind == "float":
            floats[entry.dtype] += entry.parameters
    if not expected or not floats:
        return
    most = floats.most_common(1)[0][0]
    if most != expected and FORMATS[most].bits > 8:
        told = f"most weights are {most}, the config's dtype is {show_plain(str(stated))}"
        yield "config.json", told, {"stated": expected, "stored": most}
