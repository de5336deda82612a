"""Rows of ids run in batches of like length; log-probabilities read only where they are needed."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from inspector.engine import Progress, no_progress
from inspector.errors import UnsupportedModel
from inspector.fairness.packing import packed
from inspector.model.hooks import attention_by, changed_input
from inspector.model.load import Model
from inspector.model.targets import SAME

MEMORY: Final = 2**30  # bytes that one forward may take, by the estimate of `row_bytes`
TOKENS: Final = {
    "cpu": 1024,
    "cuda": 32_768,
}  # in one forward; past what a processor's cache holds it slows
A_FORWARD: Final = {"cpu": 32, "cuda": 4096}  # tokens that another forward takes as long as
WORTH_PACKING: Final = 4096  # tokens of all rows together
LAST_STEPS: Final[Mapping[str, str]] = {  # family -> where, in the last block, tokens part
    **dict.fromkeys(("bert", "roberta", "electra"), "attention.output"),
}
HEADS: Final[Mapping[str, str]] = {"distilbert": "vocab_transform"}  # or behind the last block
Asked = tuple[tuple[int, ...], bool]  # ids, and whether attention is asked for too


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """Ids that a model is given, and which id is asked for at which place of its output.

    `attention`: how much attention each place receives is asked too.
    """

    ids: tuple[int, ...]
    places: tuple[int, ...]
    wanted: tuple[int, ...]
    attention: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model says to a row: log-probability in nats of each id that was asked for.

    `right`: whether no other id is likelier there. `received`: the mean attention each place gets
    from all tokens, over heads and layers, where it was asked.
    """

    values: tuple[float, ...]
    right: tuple[bool, ...]
    received: tuple[float, ...] = ()


class Reader:
    """Runs rows of a model; counts `forwards`, `rows` run and their `tokens`, padding included.

    What follows the last attention is run for the places that are asked for alone. `short` says
    whether that was found to give what whole logits give; if not, whole logits are computed.
    """

    def __init__(self, model: Model, memory: int = MEMORY, most_rows: int | None = None) -> None:
        self.model, self.memory, self.most_rows = model, memory, most_rows
        self.forwards = self.rows = self.tokens = 0
        self.apart = _apart(model)
        self.short: bool | None = None if self.apart is not None else False

    def __call__(self, rows: Sequence[Row], progress: Progress = no_progress) -> list[Answer]:
        """Answers in the order of rows; rows of the same ids run once. Progress counts rows."""
        merged: dict[Asked, dict[tuple[int, int], int]] = {}
        for row in rows:
            asked = merged.setdefault((row.ids, row.attention), {})
            for ask in zip(row.places, row.wanted, strict=True):
                asked.setdefault(ask, len(asked))
        runs = [
            Row(
                ids=ids,
                places=tuple(place for place, _ in asked),
                wanted=tuple(wanted for _, wanted in asked),
                attention=attention,
            )
            for (ids, attention), asked in merged.items()
        ]
        if self.short is None and runs:
            self.short = self._holds(min(runs, key=lambda row: len(row.ids)))
        found: dict[Asked, Answer] = {}
        with self._packed(runs):
            for batch in self._batches(runs):
                progress(len(found), len(runs), "rows")
                for row, answer in zip(batch, self._run(batch), strict=True):
                    found[row.ids, row.attention] = answer
        return [_part(row, found[row.ids, row.attention], merged) for row in rows]

    def _packed(self, rows: Sequence[Row]) -> AbstractContextManager[None]:
        if sum(len(row.ids) for row in rows) < WORTH_PACKING:
            return nullcontext()
        return packed(self.model.network, TOKENS["cpu"], self.memory)

    def _batches(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        kind = self.model.device.type
        most, dear = (known.get(kind, known["cpu"]) for known in (TOKENS, A_FORWARD))
        batch: list[Row] = []
        held = 0
        for row in sorted(rows, key=lambda row: (row.attention, len(row.ids))):
            size = row_bytes(self.model, row, whole=self.short is False)
            full = (
                (len(batch) + 1) * len(row.ids) > most
                or len(batch) * (len(row.ids) - len(batch[-1].ids)) > dear  # to fill up the others
                or held + size > self.memory
                or len(batch) == self.most_rows
                or row.attention != batch[0].attention
                if batch
                else False
            )
            if full:
                yield batch
                batch, held = [], 0
            batch.append(row)
            held += size
        if batch:
            yield batch

    def _run(self, rows: Sequence[Row]) -> list[Answer]:
        with torch.inference_mode():
            found, right, received = self._forward(rows, bool(self.short))
        values, best = found.double().tolist(), right.tolist()
        ends = itertools.accumulate(len(row.places) for row in rows)
        return [
            Answer(
                values=tuple(values[end - len(row.places) : end]),
                right=tuple(best[end - len(row.places) : end]),
                received=tuple(attended),
            )
            for row, end, attended in zip(rows, ends, received, strict=True)
        ]

    def _holds(self, row: Row) -> bool:
        """Whether the head, given some places alone, says there what it says given all."""
        with torch.inference_mode():
            whole = self._forward([row], short=False)[0]
            try:
                part = self._forward([row], short=True)[0]
            except _Ungathered:
                return False
        return bool(torch.allclose(whole, part, rtol=1e-4, atol=SAME.get(self.model.dtype, 1e-6)))

    def _forward(
        self, rows: Sequence[Row], short: bool
    ) -> tuple[Tensor, Tensor, list[list[float]]]:
        ids, real = padded(rows, self._padding, self.model.device)
        line = torch.tensor([i for i, row in enumerate(rows) for _ in row.places])
        place = torch.tensor([place for row in rows for place in row.places])
        wanted = torch.tensor([one for row in rows for one in row.wanted], device=ids.device)
        line, place = line.to(ids.device), place.to(ids.device)
        with self._gathering(line, place) if short else nullcontext():
            out = self._ask(ids, real, rows[0].attention)
        logits = out.logits
        if short and logits.shape[:2] != (1, len(line)):
            raise _Ungathered("the head was not given the places that were asked for")
        values, right = chosen(logits[0] if short else logits[line, place], wanted)
        self.forwards += 1
        self.rows += len(rows)
        self.tokens += ids.numel()
        attended = self._received(out, real, rows) if rows[0].attention else [[] for _ in rows]
        return values, right, attended

    def _gathering(self, line: Tensor, place: Tensor) -> AbstractContextManager[None]:
        assert self.apart is not None
        return changed_input(self.apart, lambda hidden: hidden[line, place][None])

    def _ask(self, ids: Tensor, real: Tensor, attention: bool) -> Any:
        model = self.model
        given: dict[str, Any] = {"attention_mask": real.long()}
        if model.kind == "causal":
            given["use_cache"] = False
        if not attention:
            return model.network(ids, **given)
        with attention_by(model.network, "eager"):
            return model.network(ids, output_attentions=True, **given)

    def _received(self, out: Any, real: Tensor, rows: Sequence[Row]) -> list[list[float]]:
        maps = out.attentions or ()
        if len(maps) != len(self.model.blocks):
            raise UnsupportedModel(
                f"{type(self.model.network).__name__} gives {len(maps)} maps of attention for "
                f"{len(self.model.blocks)} blocks: scores weighted by attention cannot be had."
            )
        asking = (real / real.sum(1, keepdim=True))[:, None, :, None]
        summed = sum((one.double() * asking).sum(2).mean(1) for one in maps) / len(maps)
        return [summed[i, : len(row.ids)].tolist() for i, row in enumerate(rows)]

    @property
    def _padding(self) -> int:
        for known in (self.model.network.config.get_text_config(), self.model.tokenizer):
            found = getattr(known, "pad_token_id", None)
            if (
                found is not None
                and 0 <= found < self.model.network.config.get_text_config().vocab_size
            ):
                return int(found)
        return 0


class _Ungathered(Exception):
    """The head was given something else than hidden states of rows of tokens."""


def chosen(
    logits: Float[Tensor, "asked vocabulary"], wanted: Int[Tensor, " asked"]
) -> tuple[Float[Tensor, " asked"], Bool[Tensor, " asked"]]:
    """Log-probabilities, over the vocabulary, of the ids wanted; and whether none is likelier.

    In float32 or finer: a softmax in 16 bits errs by up to 0.08 nats.
    """
    said = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    values = said.gather(-1, wanted[:, None])[:, 0]
    return values, values >= said.max(-1).values


def padded(
    rows: Sequence[Row], padding: int, device: torch.device
) -> tuple[Int[Tensor, "rows tokens"], Bool[Tensor, "rows tokens"]]:
    """Ids side by side, filled up on the right, and which of them are no padding.

    On the left padding would shift the positions of models that count them.
    """
    size = (len(rows), max(len(row.ids) for row in rows))
    ids, real = torch.full(size, padding), torch.zeros(size, dtype=torch.bool)
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = torch.tensor(row.ids)
        real[i, : len(row.ids)] = True
    return ids.to(device), real.to(device)


def row_bytes(model: Model, row: Row, whole: bool) -> int:
    """An estimate of what a row takes in one forward; `whole`: logits of every place are made."""
    config = model.network.config.get_text_config()
    tokens = len(row.ids)
    logits = 12 * config.vocab_size * (tokens if whole else len(row.places))
    maps = 4 * config.num_attention_heads * tokens * tokens
    layers = len(model.blocks) if row.attention else 2
    return int(logits + 4 * 24 * config.hidden_size * tokens + layers * maps)


def _apart(model: Model) -> nn.Module | None:
    """The module from which on nothing that a token gets hangs on other tokens."""
    network: Any = model.network
    family = network.config.model_type
    found: nn.Module | None = None
    if model.kind == "causal":
        found = network.get_output_embeddings()
    elif family in LAST_STEPS:
        found = model.blocks[-1].module.get_submodule(LAST_STEPS[family])
    elif family in HEADS:
        found = network.get_submodule(HEADS[family])
    return found


def _part(
    row: Row,
    answer: Answer,
    merged: Mapping[Asked, Mapping[tuple[int, int], int]],
) -> Answer:
    """What a row asked, of all that was asked of its ids."""
    slots = merged[row.ids, row.attention]
    at = [slots[ask] for ask in zip(row.places, row.wanted, strict=True)]
    return Answer(
        values=tuple(answer.values[i] for i in at),
        right=tuple(answer.right[i] for i in at),
        received=answer.received,
    )
