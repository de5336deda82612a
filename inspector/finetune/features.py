"""Rows as tokens: encoded once, counted, masked by the seed, padded batch by batch."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Int64
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from inspector.errors import BadOption
from inspector.finetune.config import Config
from inspector.finetune.data import Example
from inspector.finetune.tasks import IGNORED
from inspector.results import show_plain

REPLACED: Final = 0.8  # share of the hidden tokens that show as [MASK]
EXCHANGED: Final = 0.1  # share that shows as another token; the rest shows as it is
TAKEN: Final = ("input_ids", "attention_mask")  # what a model takes of a batch
Features = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lengths:
    """How long rows are, and what does not fit; `lost` counts tokens."""

    rows: int
    tokens: int
    longest: int
    over: int
    lost: int
    dropped: int
    without_labels: int  # rows none of whose labels is left


def encode(
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    config: Config,
    labels: Sequence[str],
) -> tuple[list[Features], list[int], Lengths]:
    """Features of each row that is kept, the places of these rows, and how long all rows are.

    Raises BadOption for a row that is too long where the configuration does not say what to do.
    """
    data = config.data
    kept: list[Features] = []
    places: list[int] = []
    tokens = longest = over = lost = dropped = blank = 0
    groups = {group: i for i, group in enumerate(sorted({one.group or "" for one in examples}))}
    for place, one in enumerate(examples):
        encoding = tokenizer(
            list(one.words) if one.words is not None else one.text,
            is_split_into_words=one.words is not None,
            add_special_tokens=True,
            verbose=False,
        )
        length = len(encoding["input_ids"])
        tokens, longest = tokens + length, max(longest, length)
        if length > data.max_tokens:
            over += 1
            if data.over_long == "error":
                raise BadOption(
                    f"{show_plain(one.file)}: row {one.line}: has {length:,} tokens, but "
                    f"data.max_tokens is {data.max_tokens}. Raise it, or set data.over_long to "
                    "truncate or drop."
                )
            if data.over_long == "drop":
                dropped += 1
                lost += length
                continue
            lost += length - data.max_tokens
        if length == 0:
            dropped += 1
            continue
        row = _features(tokenizer, one, config, labels, encoding)
        blank += row.pop("blank", 0)
        row |= _of_row(tokenizer, one, config, groups)
        kept.append(row)
        places.append(place)
    lengths = Lengths(
        rows=len(examples),
        tokens=tokens,
        longest=longest,
        over=over,
        lost=lost,
        dropped=dropped,
        without_labels=blank,
    )
    return kept, places, lengths


def _features(
    tokenizer: PreTrainedTokenizerBase,
    one: Example,
    config: Config,
    labels: Sequence[str],
    encoding: Any,
) -> Features:
    most = config.data.max_tokens
    ids = encoding["input_ids"]
    words = encoding.word_ids() if one.words is not None else None
    if len(ids) > most:  # the end of a text is cut, what the tokenizer puts behind it is kept
        cut = tokenizer(
            list(one.words) if one.words is not None else one.text,
            is_split_into_words=one.words is not None,
            truncation=True,
            max_length=most,
        )
        ids, words = cut["input_ids"], (cut.word_ids() if one.words is not None else None)
    row: Features = {"input_ids": ids}
    index = {label: i for i, label in enumerate(labels)}
    if config.task == "sequence-classification":
        row["labels"] = index[str(one.answer)]
    elif config.task == "multi-label-classification":
        assert isinstance(one.answer, tuple)
        row["labels"] = [float(label in one.answer) for label in labels]
    elif config.task == "regression":
        row["labels"] = one.answer
    elif config.task == "token-classification":
        assert words is not None and isinstance(one.answer, tuple)
        begins = [
            w is not None and w != before
            for w, before in zip(words, [None, *words[:-1]], strict=True)
        ]
        row["labels"] = [
            index[one.answer[w]] if w is not None and first else IGNORED
            for w, first in zip(words, begins, strict=True)
        ]
        row["blank"] = int(all(label == IGNORED for label in row["labels"]))
    else:
        row["labels"] = list(ids)
    return row


def _of_row(
    tokenizer: PreTrainedTokenizerBase, one: Example, config: Config, groups: Mapping[str, int]
) -> Features:
    """What objectives want of a row beside its tokens: its group, weight and counterfactual."""
    found: Features = {}
    if config.data.group is not None:
        found["group"] = groups[one.group or ""]
    if config.objective.reweighing or config.objective.class_weights != "none":
        found["weight"] = one.weight
    if config.objective.logit_pairing:
        found["twin"] = None if one.twin is None else _twin(tokenizer, one, config)
    return found


def _twin(tokenizer: PreTrainedTokenizerBase, one: Example, config: Config) -> Sequence[int] | None:
    """The ids of a row's counterfactual, which may be longer than the row; None: it is dropped."""
    most, over_long = config.data.max_tokens, config.data.over_long
    ids: list[int] = tokenizer(one.twin, verbose=False)["input_ids"]
    if len(ids) <= most:
        return ids
    if over_long == "error":
        raise BadOption(
            f"{show_plain(one.file)}: row {one.line}: its counterfactual has {len(ids):,} tokens, "
            f"but data.max_tokens is {most}. Raise it, or set data.over_long to truncate or drop."
        )
    if over_long == "drop":
        return None
    cut: list[int] = tokenizer(one.twin, truncation=True, max_length=most)["input_ids"]
    return cut


class Encoded(Dataset[Features]):
    """Rows as features; those of masked models are masked anew in each epoch.

    What is hidden follows from the seed, the epoch and the row alone, so that a run that goes on
    hides what it would have hidden. `epoch` is shared with the processes that prepare batches.
    """

    def __init__(
        self,
        rows: Sequence[Features],
        config: Config,
        tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        self.rows, self.tokenizer = rows, tokenizer
        self.hidden = config.training.masked_share if config.task == "masked-lm" else None
        self.seed = config.seed
        epoch: Any = torch.zeros((), dtype=torch.long)
        self.epoch: torch.Tensor = epoch.share_memory_()
        special = {*tokenizer.all_special_ids}
        self.words = np.array([i for i in range(len(tokenizer)) if i not in special])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Features:
        row = self.rows[index]
        if self.hidden is None:
            return {**row, "index": index}
        return {**self._masked(row["input_ids"], index, self.hidden), "index": index}

    def _masked(self, ids: Sequence[int], index: int, share: float) -> Features:
        draw = np.random.default_rng((self.seed, int(self.epoch), index))
        shown = np.array(ids)
        ordinary = np.flatnonzero(np.isin(shown, self.words))
        wanted = max(1, round(share * len(ordinary))) if len(ordinary) else 0
        places = draw.choice(ordinary, size=wanted, replace=False) if wanted else ordinary
        labels = np.full(len(shown), IGNORED)
        labels[places] = shown[places]
        how = draw.random(wanted)
        others = draw.choice(self.words, size=wanted)
        shown[places] = np.where(
            how < REPLACED,
            self.tokenizer.mask_token_id,
            np.where(how < REPLACED + EXCHANGED, others, shown[places]),
        )
        return {"input_ids": shown.tolist(), "labels": labels.tolist()}


class Collate:
    """Rows as one batch, padded on the right to its longest."""

    def __init__(self, pad: int, per_token: bool, real: bool) -> None:
        self.pad, self.per_token, self.real = pad, per_token, real

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """The batch, with `labels` and the `index` of each row beside what the model takes."""
        longest = max(len(row["input_ids"]) for row in rows)
        batch = {
            "input_ids": _padded([row["input_ids"] for row in rows], longest, self.pad),
            "attention_mask": _padded([[1] * len(row["input_ids"]) for row in rows], longest, 0),
            "index": torch.tensor([row["index"] for row in rows]),
        }
        labels = [row["labels"] for row in rows]
        if self.per_token:
            batch["labels"] = _padded(labels, longest, IGNORED)
        else:
            batch["labels"] = torch.tensor(labels, dtype=torch.float32 if self.real else None)
        for name, kind in (("group", torch.long), ("weight", torch.float32)):
            if name in rows[0]:
                batch[name] = torch.tensor([row[name] for row in rows], dtype=kind)
        if "twin" in rows[0]:
            batch |= self._twins(rows)
        return batch

    def _twins(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Counterfactuals of the rows; those that have none stand for themselves."""
        ids = [row["input_ids"] if row["twin"] is None else row["twin"] for row in rows]
        longest = max(map(len, ids))
        return {
            "twinned": torch.tensor([row["twin"] is not None for row in rows]),
            "twin_input_ids": _padded(ids, longest, self.pad),
            "twin_attention_mask": _padded([[1] * len(one) for one in ids], longest, 0),
        }


def _padded(
    rows: Sequence[Sequence[int]], longest: int, pad: int
) -> Int64[torch.Tensor, "rows longest"]:
    return torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])
