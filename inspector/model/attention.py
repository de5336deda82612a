"""What the heads of a model do over many texts: means with ranges, nulls, and kinds of heads."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption
from inspector.model.asking import source, whole
from inspector.model.attention_metrics import ATTENTION_METRICS, Rows, uniform
from inspector.model.attention_records import CONFIDENCE, Running, head_records
from inspector.model.attention_rows import Way, predicted_bytes, show_rows, way_of
from inspector.model.heads_taxonomy import ALPHA, HEAD_KINDS
from inspector.model.load import Model
from inspector.model.records import HeadAttention
from inspector.model.texts import (
    BATCH_TOKENS,
    MOST_ROWS,
    Batch,
    Texts,
    batches,
    context,
    read_texts,
)
from inspector.results import Records
from inspector.weights.problems import Log

MOST_BYTES = 4 << 30
SEQUENCES = 16  # of repeated random blocks
COPIES, BLOCK = 4, 25  # Olsson 2022
LEAST_BLOCK = 4
FEW = 5  # texts below which ranges are too wide to rely on


def attention(
    model: Model,
    texts: Sequence[str],
    way: Literal["auto"] | Way = "auto",
    max_bytes: int = MOST_BYTES,
    max_tokens: int | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Records[HeadAttention]:
    """Measure every head on texts, and induction on repeated random blocks drawn by `seed`.

    `way` auto streams where that gives what eager attention gives, else holds the maps of one
    batch. What maps and buffers need is predicted; more than `max_bytes` raises BadOption before
    anything is run. Texts are cut to `max_tokens`. Progress counts batches.
    """
    log = Log()
    read = read_texts(model, texts, max_tokens, log)
    taken, why = (way, "asked for") if way != "auto" else way_of(model)
    if taken == "eager" and way == "auto":
        log.add("AH-EAGER", "attention", f"attention cannot be streamed here: {why}")
    drawn = _repeated(model, read, max_tokens, seed, log)
    rows = _rows_at_once(model, max(map(len, (*read.ids, *drawn))), taken, max_bytes)
    work = [(batch, False) for batch in batches(model, read.ids, rows)]
    work += [(batch, True) for batch in batches(model, drawn, rows)]
    running: dict[str, Running] = {}
    for done, (batch, repeated) in enumerate(work):
        progress(done, len(work), "repeated blocks" if repeated else "texts")
        _gather(running, measured(model, batch, taken, repeated), repeated)
    progress(len(work), len(work), "")
    if len(read.ids) < FEW:
        log.add("AH-FEW", "texts", f"{len(read.ids)} different texts were measured")
    records = head_records(model, running, len(read.ids))
    return Records(
        command="attention",
        record_type=HeadAttention,
        source=source(model, seed),
        coverage=whole(model),
        summary={
            "way": taken,
            "way_reason": why,
            **_told(model, read, drawn),
            "predicted_bytes": predicted_bytes(model, read.longest, 1, taken),
            "labels": dict(Counter(record.label for record in records)),
        },
        records=tuple(records),
        findings=(*model.findings, *log.findings),
    )


def measured(
    model: Model, batch: Batch, way: Way, repeated: bool = False
) -> dict[str, Float[np.ndarray, "batch blocks heads"]]:
    """Each metric's mean over the counted rows of each text, and as `NAME_null` of uniform rows.

    Rows of padding and the first row are not counted; NaN where no row is.
    """
    names = [name for name, metric in ATTENTION_METRICS.items() if metric.repeated == repeated]
    number = {block.attention: i for i, block in enumerate(model.blocks)}
    counted = batch.real.clone()
    counted[:, 0] = False
    size = (len(names), 2, len(batch.ids))
    heads = model.blocks[0].heads
    sums = torch.zeros((*size, len(number), heads), dtype=torch.float64, device=model.device)
    nulls: dict[int, Tensor] = {}
    layouts: dict[int, int] = {}

    def receive(module: nn.Module, rows: Rows) -> None:
        keep = counted[:, rows.first_query : rows.first_query + rows.weights.shape[2]]
        _add(sums[:, :, :, number[module]], names, rows, keep)
        layouts[number[module]] = rows.layout
        if rows.visible is not None:
            held = nulls.setdefault(rows.layout, sums.new_zeros((*size, 1)))
            _add(held, names, uniform(rows), keep)

    show_rows(model, batch, way, receive)
    null = torch.stack([nulls[layouts[i]] for i in range(len(number))], 3)
    means, expected = ((part[:, 0] / part[:, 1]).cpu().numpy() for part in (sums, null))
    found = dict(zip(names, means, strict=True))
    return found | {f"{name}_null": one for name, one in zip(names, expected, strict=True)}


def _add(
    sums: Float[Tensor, "names 2 batch heads"],
    names: Sequence[str],
    rows: Rows,
    keep: Bool[Tensor, "batch queries"],
) -> None:
    """Add the sums over the kept rows of what each metric is and of what it is over."""
    kept = keep[:, None].float()
    for i, name in enumerate(names):
        metric = ATTENTION_METRICS[name]
        over = kept if metric.over is None else metric.over(rows) * kept
        sums[i, 0] += (metric.of(rows) * kept).sum(-1)
        sums[i, 1] += over.sum(-1)


def _gather(running: dict[str, Running], means: Mapping[str, np.ndarray], repeated: bool) -> None:
    """Add each text to the running means of metrics, nulls and excesses of kinds."""
    kinds = {
        f"is {name}": kind.excess(means)
        for name, kind in HEAD_KINDS.items()
        if kind.repeated == repeated
    }
    for name, values in (dict(means) | kinds).items():
        held = running.setdefault(name, Running.of(values.shape[1:]))
        for one in values:
            held.add(one)


def check_bytes(model: Model, tokens: int, way: Way, max_bytes: int, batch: int = 1) -> None:
    """Raise BadOption, with the number, when maps and buffers would need more than `max_bytes`."""
    needed = predicted_bytes(model, tokens, batch, way)
    if needed > max_bytes:
        raise BadOption(
            f"A sequence of {tokens} tokens needs {needed} bytes for {way} attention, more than "
            f"the limit of {max_bytes}. Give --max-tokens, or raise --max-bytes."
        )


def _rows_at_once(model: Model, longest: int, way: Way, max_bytes: int) -> int:
    """How many texts a batch may hold; the longest one alone must fit."""
    check_bytes(model, longest, way, max_bytes)
    rows = max(1, min(MOST_ROWS, BATCH_TOKENS // longest))
    while rows > 1 and predicted_bytes(model, longest, rows, way) > max_bytes:
        rows //= 2
    return rows


def _repeated(
    model: Model, read: Texts, most: int | None, seed: int, log: Log
) -> list[tuple[int, ...]]:
    """SEQUENCES times COPIES copies of a random block, between the special tokens of a text."""
    special = set(model.tokenizer.all_special_ids)
    size = min(model.network.config.get_text_config().vocab_size, len(model.tokenizer))
    drawable = [id for id in range(size) if id not in special]
    before = _leading(read.ids[0], special)
    after = _leading(read.ids[0][::-1], special)[::-1]
    room = min(most or 1 << 60, context(model) or 1 << 60) - len(before) - len(after)
    block = min(BLOCK, room // COPIES, len(drawable))
    if block < LEAST_BLOCK:
        log.add("AH-INDUCTION", "attention", f"{COPIES} random blocks would be {block} tokens each")
        return []
    random = np.random.default_rng(seed)
    drawn = [random.choice(drawable, block, replace=False).tolist() for _ in range(SEQUENCES)]
    return [(*before, *(one * COPIES), *after) for one in drawn]


def _leading(ids: Sequence[int], special: set[int]) -> tuple[int, ...]:
    count = next((i for i, id in enumerate(ids) if id not in special), len(ids))
    return tuple(ids[:count])


def _told(model: Model, read: Texts, drawn: Sequence[Sequence[int]]) -> dict[str, Any]:
    """What was measured, and by which rules."""
    starts = {ids[0] for ids in read.ids}
    only = next(iter(starts))
    special = len(starts) == 1 and only in model.tokenizer.all_special_ids
    return {
        "texts": len(read.ids),
        "texts_given": read.given,
        "texts_left_out": read.left_out,
        "texts_repeated": read.repeated,
        "texts_cut": read.cut,
        "tokens": sum(map(len, read.ids)),
        "longest": read.longest,
        "first_token": model.tokenizer.convert_ids_to_tokens(only) if special else None,
        "first_token_rule": "the sink is the first token, "
        + ("which the tokenizer adds" if special else "which is a word: no special one is added"),
        "rows_rule": "the first row and rows of padding are not counted; rows weigh alike in a "
        "text, texts alike in a mean",
        "stacks_rule": "encoder and decoder are given the same text"
        if model.kind == "encoder-decoder"
        else None,
        "induction_sequences": len(drawn),
        "induction_copies": COPIES if drawn else None,
        "induction_block": _block_size(model, drawn),
        "confidence": CONFIDENCE,
        "interval": "Student's t over texts",
        "alpha": ALPHA,
        "label_rule": "the first kind whose excess over its bar is significant by a one-sided t "
        "test over texts, with Holm's correction over all heads",
        "kinds": {name: kind.told for name, kind in HEAD_KINDS.items()},
    }


def _block_size(model: Model, drawn: Sequence[Sequence[int]]) -> int | None:
    if not drawn:
        return None
    special = set(model.tokenizer.all_special_ids)
    return sum(id not in special for id in drawn[0]) // COPIES
