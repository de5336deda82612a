"""Texts as token ids: what is left out or cut is told, and batches of like length are made."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from inspector.errors import BadOption, NotEnoughData
from inspector.model.features import check_ids
from inspector.model.load import Model
from inspector.results import show_plain
from inspector.weights.problems import Log

LEAST = 2  # tokens that are not special, below which a text has no attention to speak of
BATCH_TOKENS = 4096
MOST_ROWS = 64
ABSOLUTE = ("roberta",)  # their positions begin after that of padding
UNBOUNDED = ("t5", "bloom")  # distances are all they know: the sizes in the config bind nothing


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Token ids padded on the right, and which are no padding."""

    ids: Int[Tensor, "batch tokens"]
    real: Bool[Tensor, "batch tokens"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Texts:
    """Different token sequences, and how many texts were given for them."""

    ids: tuple[tuple[int, ...], ...]
    given: int
    left_out: int
    repeated: int
    cut: int

    @property
    def longest(self) -> int:
        """Tokens of the longest."""
        return max(map(len, self.ids))


def read_texts(model: Model, texts: Sequence[str], most: int | None, log: Log) -> Texts:
    """Token ids of texts, with the special tokens that the tokenizer adds.

    Longer ones are cut to `most` tokens or what the model was made for, the shorter of both.
    Texts of fewer than LEAST tokens are left out, repeated ones count once; all of it is noted.
    Raises BadOption for text that has no UTF-8 form, NotEnoughData where nothing is left.
    """
    if most is not None and most < LEAST:
        raise BadOption(f"--max-tokens {most}: give {LEAST} or more.")
    limit = min(most or 1 << 60, context(model) or 1 << 60)
    special = set(model.tokenizer.all_special_ids)
    kept: dict[tuple[int, ...], None] = {}
    left_out = repeated = cut = 0
    for number, text in enumerate(texts, 1):
        ids = _ids(model, text, number)
        cut += len(ids) > limit
        ids = ids[:limit]
        if sum(id not in special for id in ids) < LEAST:
            left_out += 1
        elif ids in kept:
            repeated += 1
        else:
            kept[ids] = None
    total = len(texts)
    if left_out:
        log.add("AH-SHORT", "texts", f"{left_out} of {total} have fewer than {LEAST} tokens")
    if cut:
        log.add("AH-CUT", "texts", f"{cut} of {total} were cut to {limit} tokens")
    if repeated:
        log.add("AH-TWICE", "texts", f"{repeated} of {total} repeat another and count once")
    if not kept:
        raise NotEnoughData(
            f"None of {total} texts has {LEAST} tokens or more besides special ones: there is no "
            "attention to measure. Give longer texts."
        )
    return Texts(ids=tuple(kept), given=total, left_out=left_out, repeated=repeated, cut=cut)


def context(model: Model) -> int | None:
    """The longest input a model was made for; None where it knows no such limit."""
    config: Any = model.network.config.get_text_config()
    most = getattr(config, "max_position_embeddings", None)
    if most is None or config.model_type in UNBOUNDED:
        return None
    begin = config.pad_token_id + 1 if config.model_type in ABSOLUTE else 0
    return int(most) - begin


def batches(
    model: Model, sequences: Sequence[Sequence[int]], most_rows: int = MOST_ROWS
) -> Iterator[Batch]:
    """Sequences of like length side by side, padded on the right, from short to long."""
    waiting: list[Sequence[int]] = []
    for ids in sorted(sequences, key=len):
        if waiting and (len(waiting) == most_rows or len(ids) * (len(waiting) + 1) > BATCH_TOKENS):
            yield _batch(model, waiting)
            waiting = []
        waiting.append(ids)
    if waiting:
        yield _batch(model, waiting)


def _batch(model: Model, sequences: Sequence[Sequence[int]]) -> Batch:
    size = (len(sequences), max(map(len, sequences)))
    ids = torch.full(size, model.tokenizer.pad_token_id or 0)
    real = torch.zeros(size, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        real[row, : len(sequence)] = True
    return Batch(ids=ids.to(model.device), real=real.to(model.device))


def _ids(model: Model, text: str, number: int) -> tuple[int, ...]:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadOption(
            f"Text {number} is no valid text: character {error.start} is half of a pair "
            f"({show_plain(text[error.start])}). Mend or leave it out."
        ) from None
    ids = model.tokenizer(text, verbose=False)["input_ids"]
    check_ids(model, ids)
    return tuple(ids)
