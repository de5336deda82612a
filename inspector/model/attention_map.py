"""The attention of chosen heads on one text: itself, weighted by what it passes on, and paths."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption
from inspector.model.asking import source, whole
from inspector.model.attention import MOST_BYTES
from inspector.model.attention_metrics import Rows
from inspector.model.attention_paths import MOST_FLOW, flow, mixed
from inspector.model.attention_rows import Way, predicted_bytes, show_rows, way_of
from inspector.model.load import Model
from inspector.model.places import Block
from inspector.model.records import Maps, MapToken
from inspector.model.texts import batches, read_texts
from inspector.results import Finding
from inspector.weights.problems import Log

Head = tuple[int, int]  # layer and head
MOST_KEPT = 16 << 20  # bytes of the maps of all heads


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class AttentionMap:
    """Attention of heads of one stack on one text; `tokens` and `texts` are raw.

    `weights` are fractions of a row. `value_weighted` are they times `value_norms`, the length of
    what each key adds to the stream through that head; None where values cannot be seen.
    `rollout` and `flow` (from `flow_query`, for at most MOST_FLOW tokens, else None) go through
    all layers of the stack. `sink` tells whether the first token is in them.
    """

    stack: str
    heads: tuple[Head, ...]
    tokens: tuple[str, ...]
    texts: tuple[str, ...]
    weights: Float[np.ndarray, "heads queries keys"]
    value_weighted: Float[np.ndarray, "heads queries keys"] | None
    value_norms: Float[np.ndarray, "heads keys"] | None
    rollout: Float[np.ndarray, "queries keys"]
    flow: Float[np.ndarray, " keys"] | None
    flow_query: int
    sink: bool
    way: Way
    way_reason: str
    findings: tuple[Finding, ...]


def attention_map(
    model: Model,
    text: str,
    heads: Sequence[Head],
    stack: str = "",
    flow_query: int = -1,
    max_bytes: int = MOST_BYTES,
    max_tokens: int | None = None,
) -> AttentionMap:
    """Maps of the chosen heads; only these, and one mean over heads, are ever held whole.

    `stack` is encoder or decoder in a model that has both. Raises BadOption for heads that do not
    exist and, before anything is run, for maps over `max_bytes`; NotEnoughData for too short texts.
    """
    blocks = [block for block in model.blocks if block.stack == stack]
    _check(blocks, heads, stack)
    log = Log()
    read = read_texts(model, [text], max_tokens, log)
    size = read.longest
    taken, why = way_of(model)
    needed = predicted_bytes(model, size, 1, taken) + (2 * len(heads) + 4) * size * size * 8
    if needed > max_bytes:
        raise BadOption(
            f"Maps of {len(heads)} heads over {size} tokens need {needed} bytes, more than the "
            f"limit of {max_bytes}. Choose fewer heads or a shorter text."
        )
    if not -size <= flow_query < size:
        raise BadOption(f"Token {flow_query} of {size} does not exist: flow has no beginning.")
    seen = _Seen.of(blocks, heads, size)
    show_rows(model, next(batches(model, read.ids)), taken, seen.receive)
    values = seen.norms if len(seen.norms) == len(heads) else None
    if values is None:
        log.add("AH-VALUES", "attention", f"values of {type(model.network).__name__} are not seen")
    norms = None
    if values is not None:
        norms = np.array([values[head] for head in heads]).reshape(len(heads), size)
    return AttentionMap(
        stack=stack,
        heads=tuple(heads),
        **_named(model, text, read.ids[0]),
        weights=seen.weights,
        value_weighted=None if norms is None else seen.weights * norms[:, None],
        value_norms=norms,
        rollout=seen.rollout[0],
        flow=flow(seen.means, flow_query % size) if size <= MOST_FLOW else None,
        flow_query=flow_query % size,
        sink=True,
        way=taken,
        way_reason=why,
        findings=(*model.findings, *log.findings),
    )


def maps(
    model: Model,
    text: str,
    heads: Sequence[Sequence[int]] | None = None,
    stack: str | None = None,
    progress: Progress = no_progress,
) -> Maps:
    """The maps of some heads as records and arrays; all heads where these need at most MOST_KEPT.

    `heads` are pairs of layer and head, `stack` the first there is. Raises what `attention_map`
    does, and BadOption where all heads are too many to keep.
    """
    stack = model.blocks[0].stack if stack is None else stack
    every = [(b.layer, h) for b in model.blocks if b.stack == stack for h in range(b.heads)]
    size = read_texts(model, [text], None, Log()).longest
    if heads is None and (needed := len(every) * size * size * 4) > MOST_KEPT:
        raise BadOption(
            f"The maps of all {len(every)} heads over {size} tokens need {needed} bytes, more than "
            f"the {MOST_KEPT} that are kept: choose heads."
        )
    chosen = every if heads is None else [(layer, head) for layer, head in heads]
    progress(0, 1, f"{len(chosen)} heads")
    found = attention_map(model, text, chosen, stack)
    named = zip(found.tokens, found.texts, strict=True)
    arrays = {
        name: getattr(found, name)
        for name in ("weights", "value_norms", "rollout", "flow")
        if getattr(found, name) is not None
    }
    progress(1, 1, "")
    return Maps(
        command="maps",
        record_type=MapToken,
        source=source(model),
        coverage=whole(model),
        summary={
            "text": text,
            "stack": stack,
            "heads": found.heads,
            "flow_query": found.flow_query,
            "way": found.way,
            "way_reason": found.way_reason,
        },
        records=tuple(
            MapToken(position=i, token=token, text=shown) for i, (token, shown) in enumerate(named)
        ),
        findings=found.findings,
        arrays=arrays,
    )


def without_sink(found: AttentionMap) -> AttentionMap:
    """The maps without the first token; rows of weights and rollout are scaled to 1 again.

    What is weighted by values is not scaled. The first row has nothing left and is 0.
    """

    def scaled(rows: Float[np.ndarray, "*heads queries keys"]) -> np.ndarray:
        left = _without_first(rows)
        total = left.sum(-1, keepdims=True)
        return np.asarray(np.divide(left, total, out=np.zeros_like(left), where=total > 0))

    weighted, flowing = found.value_weighted, found.flow
    return dataclasses.replace(
        found,
        weights=scaled(found.weights),
        value_weighted=None if weighted is None else _without_first(weighted),
        rollout=scaled(found.rollout),
        flow=None if flowing is None else _without_first(flowing),
        sink=False,
    )


def value_norms(
    block: Block, head: int, values: Float[Tensor, "batch groups tokens dim"]
) -> Float[Tensor, "batch tokens"]:
    """Length of v W_O for one head: what each key adds to the stream at full attention.

    Kobayashi 2020; a weight of nn.Linear is [out, in], that of GPT-2's Conv1D [in, out].
    """
    weight: Any = block.output.weight
    inputs_last = isinstance(block.output, nn.Linear)
    width = values.shape[-1]
    columns = (weight.mT if inputs_last else weight)[head * width : (head + 1) * width]
    group = head * values.shape[1] // block.heads
    passed = values[:, group].float() @ columns.detach().float()
    lengths: Tensor = passed.norm(dim=-1)
    return lengths


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Seen:
    """What is kept of the rows of one text while they pass."""

    blocks: dict[nn.Module, Block]
    places: dict[Head, int]
    weights: Float[np.ndarray, "heads queries keys"]
    norms: dict[Head, Float[np.ndarray, " keys"]]
    mean: Float[np.ndarray, "queries keys"]
    rollout: list[Float[np.ndarray, "queries keys"]]
    means: list[Float[np.ndarray, "queries keys"]]

    @classmethod
    def of(cls, blocks: Sequence[Block], heads: Sequence[Head], size: int) -> "_Seen":
        """Nothing yet."""
        return cls(
            blocks={block.attention: block for block in blocks},
            places={head: place for place, head in enumerate(heads)},
            weights=np.zeros((len(heads), size, size), dtype=np.float32),
            norms={},
            mean=np.zeros((size, size)),
            rollout=[np.eye(size)],
            means=[],
        )

    def receive(self, module: nn.Module, rows: Rows) -> None:
        """Keep the chosen heads and the mean of all; at a layer's end, one more step of rollout."""
        block = self.blocks.get(module)
        if block is None:
            return
        stop = rows.first_query + rows.weights.shape[2]
        at = np.s_[rows.first_query : stop, rows.first_key : rows.first_key + rows.weights.shape[3]]
        self.mean[at] = rows.weights[0].mean(0).cpu().numpy()
        for head in range(block.heads):
            place = self.places.get((block.layer, head))
            if place is None:
                continue
            self.weights[place][at] = rows.weights[0, head].cpu().numpy()
            if rows.values is not None and rows.first_query == 0:
                norms = value_norms(block, head, rows.values)
                self.norms[block.layer, head] = norms[0].cpu().numpy()
        if stop == len(self.mean):
            self.rollout[0] = mixed(self.mean) @ self.rollout[0]
            if len(self.mean) <= MOST_FLOW:
                self.means.append(self.mean.copy())
            self.mean[:] = 0


def _without_first(rows: Float[np.ndarray, "*heads keys"]) -> Float[np.ndarray, "*heads keys"]:
    left = rows.copy()
    left[..., 0] = 0
    return left


def _check(blocks: Sequence[Block], heads: Sequence[Head], stack: str) -> None:
    if not blocks:
        raise BadOption(
            f"This model has no stack {stack!r}."
            if stack
            else "Name the stack: encoder or decoder."
        )
    if len(set(heads)) != len(heads):
        raise BadOption("A head is named twice.")
    for layer, head in heads:
        if not (0 <= layer < len(blocks) and 0 <= head < blocks[0].heads):
            raise BadOption(
                f"There is no head {head} in layer {layer}: layers go from 0 to "
                f"{len(blocks) - 1}, heads from 0 to {blocks[0].heads - 1}."
            )


def _named(model: Model, text: str, ids: Sequence[int]) -> dict[str, tuple[str, ...]]:
    """Each token by its name in the vocabulary and by the characters it stands for."""
    tokens = tuple(model.tokenizer.convert_ids_to_tokens(list(ids)))
    if not model.tokenizer.is_fast:
        return {"tokens": tokens, "texts": tokens}
    spans = model.tokenizer(text, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    shown = [text[a:b] or token for (a, b), token in zip(spans, tokens, strict=False)]
    return {"tokens": tokens, "texts": tuple(shown)}
