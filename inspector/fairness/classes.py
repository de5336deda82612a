"""What a classifier says of texts: the probability of each class, whatever the batch."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float
from torch.nn.functional import logsigmoid

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption, UnsupportedModel
from inspector.fairness.batching import MEMORY, TOKENS, Row, padded, row_bytes
from inspector.fairness.sentences import is_text
from inspector.model.features import check_ids
from inspector.model.load import Model
from inspector.model.texts import context

MOST_CLASSES: Final = 1000
SEVERAL: Final = "multi_label_classification"  # classes that do not exclude each other
REASONS: Final[Mapping[str, str]] = {
    "empty": "there is nothing to read",
    "not text": "it holds half a surrogate pair, which is no text",
    "special": "it holds a special token, such as that for padding, in its text",
    "too long": "the model does not see as many tokens at once; nothing is cut",
    "not finite": "the model's answer is no number",
}
"""Every reason for which a text has no prediction."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """Log-probabilities of the classes for each text, in nats; NaN for those left out.

    `excluded` says of each text left out, by its place, the reason of REASONS and what it was.
    `unknown` of `tokens` are words that are not in the vocabulary.
    """

    classes: tuple[str, ...]
    log_probabilities: Float[np.ndarray, "texts classes"]
    excluded: Mapping[int, tuple[str, str]]
    tokens: int
    unknown: int
    forwards: int

    def reasons(self) -> dict[str, int]:
        """How many texts were left out for each reason."""
        return dict(Counter(reason for reason, _ in self.excluded.values()).most_common())


def classes_of(model: Model, exclusive: bool = True) -> tuple[str, ...]:
    """Names of a classifier's classes, in the order of its output.

    Raises UnsupportedModel for models that are no classifier, that give one number, or, where
    they are to be `exclusive`, whose classes do not exclude each other; BadOption where two
    classes have one name.
    """
    config: Any = model.network.config
    name = type(model.network).__name__
    if model.kind != "classifier":
        raise UnsupportedModel(
            f"{name} names no class for a text. Fine-tune it for classification, or open a model "
            "that was (its class ends in ForSequenceClassification)."
        )
    count = int(config.num_labels)
    kind = config.problem_type
    if count < 2 or kind == "regression" or (exclusive and kind == SEVERAL):
        told = "gives one number" if count < 2 else f"has classes for {kind}"
        wanted = "classes that exclude others" if exclusive else "probabilities of classes"
        raise UnsupportedModel(f"{name} {told}: {wanted} are wanted.")
    if count > MOST_CLASSES:
        raise UnsupportedModel(f"{name} has {count} classes; at most {MOST_CLASSES} are compared.")
    names = tuple(str(config.id2label.get(i, i)) for i in range(count))
    if len(set(names)) < count:
        raise BadOption(f"{name}: two classes have one name, so labels do not say which is meant.")
    return names


def predict(
    model: Model,
    texts: Sequence[str],
    progress: Progress = no_progress,
    *,
    memory: int = MEMORY,
    most_rows: int | None = None,
    exclusive: bool = True,
) -> Predictions:
    """What a classifier says of texts, by a softmax over its classes in float32 or finer.

    Not `exclusive`: of a classifier with several classes a text, each by a sigmoid of its own.
    With the special tokens that the tokenizer adds; texts side by side are filled up on the right,
    in `memory` bytes and at most `most_rows` rows. Nothing is cut: what does not fit the model's
    window is left out. Progress counts texts. Raises what `classes_of` raises.
    """
    names = classes_of(model, exclusive)
    out = np.full((len(texts), len(names)), np.nan)
    rows, excluded, unknown = _read(model, texts)
    done = forwards = 0
    for batch in _batches(model, rows, memory, most_rows):
        progress(done, len(rows), "texts")
        out[batch] = _run(model, [rows[i] for i in batch])
        done, forwards = done + len(batch), forwards + 1
    progress(len(rows), len(rows), "texts")
    for i in rows:
        if not np.isfinite(out[i]).all():
            out[i] = np.nan
            excluded[i] = ("not finite", REASONS["not finite"])
    return Predictions(
        classes=names,
        log_probabilities=out,
        excluded=excluded,
        tokens=sum(len(row.ids) for row in rows.values()),
        unknown=unknown,
        forwards=forwards,
    )


def _read(
    model: Model, texts: Sequence[str]
) -> tuple[dict[int, Row], dict[int, tuple[str, str]], int]:
    tokenizer: Any = model.tokenizer
    limit, unk = context(model), tokenizer.unk_token_id
    special = {*tokenizer.all_special_ids} - {unk}
    rows: dict[int, Row] = {}
    excluded: dict[int, tuple[str, str]] = {}
    unknown = 0
    given = [i for i, text in enumerate(texts) if is_text(text)]
    for i in set(range(len(texts))) - set(given):
        excluded[i] = ("not text", REASONS["not text"])
    read = (
        tokenizer([texts[i] for i in given], return_special_tokens_mask=True, verbose=False)
        if given
        else {"input_ids": [], "special_tokens_mask": []}
    )
    for i, ids, marks in zip(given, read["input_ids"], read["special_tokens_mask"], strict=True):
        check_ids(model, ids)
        inner = [id for id, mark in zip(ids, marks, strict=True) if not mark]
        unknown += inner.count(unk)
        if not inner:
            excluded[i] = ("empty", REASONS["empty"])
        elif not special.isdisjoint(inner):
            excluded[i] = ("special", REASONS["special"])
        elif limit is not None and len(ids) > limit:
            told = f"{REASONS['too long']}: {len(ids)} tokens; it sees {limit}"
            excluded[i] = ("too long", told)
        else:
            rows[i] = Row(ids=tuple(ids), places=(), wanted=())
    return rows, excluded, unknown


def _batches(
    model: Model, rows: Mapping[int, Row], memory: int, most_rows: int | None
) -> Iterator[list[int]]:
    """Places of texts of like length, as many as fit."""
    most = TOKENS.get(model.device.type, TOKENS["cpu"])
    if model.network.config.get_text_config().pad_token_id is None:
        most_rows = 1  # decoders find the last token by the padding, and refuse batches without
    batch: list[int] = []
    held = 0
    for i in sorted(rows, key=lambda i: len(rows[i].ids)):
        size = row_bytes(model, rows[i], whole=False)
        if batch and (
            (len(batch) + 1) * len(rows[i].ids) > most
            or held + size > memory
            or len(batch) == most_rows
        ):
            yield batch
            batch, held = [], 0
        batch.append(i)
        held += size
    if batch:
        yield batch


def _run(model: Model, rows: Sequence[Row]) -> Float[np.ndarray, "rows classes"]:
    padding = model.network.config.get_text_config().pad_token_id or 0
    ids, real = padded(rows, padding, model.device)
    with torch.inference_mode():
        logits = model.network(ids, attention_mask=real.long()).logits
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        several = model.network.config.problem_type == SEVERAL
        told = logsigmoid(logits) if several else logits.log_softmax(-1)
        said: np.ndarray = told.double().cpu().numpy()
    return said
