"""How a causal model goes on from a text: drawn by seed, whatever the batch."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption, UnsupportedModel
from inspector.fairness.batching import MEMORY, Row, row_bytes
from inspector.fairness.kept_scores import identity
from inspector.fairness.kept_texts import TextFile
from inspector.fairness.sentences import Excluded, excluded, read_sentences
from inspector.model.load import Model
from inspector.model.texts import context

MOST_ROWS: Final = {"cpu": 64, "cuda": 512}
MOST_TOKENS: Final = 1000
MOST_SAMPLES: Final = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """How texts are drawn: `samples` of each beginning, of at most `tokens` tokens.

    `temperature` 1: as the model says. `top_p`: each token is drawn among the likeliest that
    together have this probability (None: among all).
    """

    samples: int = 5
    tokens: int = 20
    temperature: float = 1.0
    top_p: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.samples <= MOST_SAMPLES:
            raise BadOption(f"samples = {self.samples}: give 1 to {MOST_SAMPLES:,}.")
        if not 1 <= self.tokens <= MOST_TOKENS:
            raise BadOption(f"tokens = {self.tokens}: give 1 to {MOST_TOKENS:,}.")
        if not 0 < self.temperature <= 100:
            raise BadOption(f"temperature = {self.temperature:g}: give above 0, 1 as it is.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise BadOption(f"top_p = {self.top_p:g}: give above 0 and at most 1, or none.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Continuation:
    """What a model wrote behind a text, of `tokens` tokens; `ended`: it came to an end of its own.

    `text` begins with the space that stands before it, if there is one.
    """

    text: str
    tokens: int
    ended: bool


Continued = tuple[Continuation, ...] | Excluded


def continued(
    model: Model,
    texts: Sequence[str],
    how: Sampling,
    progress: Progress = no_progress,
    *,
    lines: Path | None = None,
    memory: int = MEMORY,
    most_rows: int | None = None,
) -> list[Continued]:
    """Continuations of each text, or why there are none; equal texts are continued once.

    Each is drawn by random numbers of its own, which hang on seed, text and sample alone: what is
    written does not depend on the batch nor on other texts (but where float32 rounding decides,
    about once in a million tokens). Any special token ends a text; ids without a token in the
    vocabulary are never drawn. With `lines` texts are added to that file as they are had, and what
    it holds is not asked again. Raises UnsupportedModel for a model that is not causal. Progress
    counts texts.
    """
    if model.kind != "causal":
        raise UnsupportedModel(
            f"{type(model.network).__name__} does not write from left to right: only causal "
            "models go on from a text."
        )
    order = list(dict.fromkeys(texts))
    found: dict[str, Continued] = {}
    ids: dict[str, tuple[int, ...]] = {}
    limit = context(model)
    for text, tokens in zip(order, read_sentences(model, order), strict=True):
        if isinstance(tokens, Excluded):
            found[text] = tokens
        elif limit is not None and len(tokens.ids) + how.tokens > limit:
            told = f"{len(tokens.ids)} tokens and {how.tokens} more; it sees {limit}"
            found[text] = excluded("too long", told)
        else:
            ids[text] = tokens.ids
    with ExitStack() as stack:
        file = None
        if lines is not None:
            file = stack.enter_context(TextFile(lines, {"model": identity(model), **_named(how)}))
            found |= {t: _kept(rows) for t, rows in file.known().items() if t in ids}
        missing = {text: one for text, one in ids.items() if text not in found}
        done = 0
        for batch in _batches(model, missing, how, memory, most_rows):
            progress(done, len(missing), "texts")
            made = _written(model, batch, missing, how)
            found |= made
            done += len(batch)
            if file is not None:
                file.keep({t: rows for t, one in made.items() if (rows := _rows(one))})
        progress(len(missing), len(missing), "texts")
    return [found[text] for text in texts]


def _named(how: Sampling) -> Mapping[str, Any]:
    return dataclasses.asdict(how)


def _kept(rows: Sequence[Mapping[str, Any]]) -> tuple[Continuation, ...]:
    return tuple(Continuation(**row) for row in rows)


def _rows(made: Continued) -> list[dict[str, Any]]:
    return [] if isinstance(made, Excluded) else [dataclasses.asdict(one) for one in made]


def _batches(
    model: Model,
    ids: Mapping[str, tuple[int, ...]],
    how: Sampling,
    memory: int,
    most_rows: int | None,
) -> Iterator[list[str]]:
    """Texts of one length, so that nothing is filled up; all samples of a text are in one batch."""
    kind = model.device.type
    most = most_rows or MOST_ROWS.get(kind, MOST_ROWS["cpu"])
    lengths: dict[int, list[str]] = {}
    for text, one in ids.items():
        lengths.setdefault(len(one), []).append(text)
    for length, texts in sorted(lengths.items()):
        row = Row(ids=(0,) * (length + how.tokens), places=(), wanted=())
        rows = min(most, memory // row_bytes(model, row, whole=True))
        step = max(1, rows // how.samples)
        for start in range(0, len(texts), step):
            yield texts[start : start + step]


def _written(
    model: Model, texts: Sequence[str], ids: Mapping[str, tuple[int, ...]], how: Sampling
) -> dict[str, Continued]:
    given = torch.tensor([ids[text] for text in texts]).repeat_interleave(how.samples, 0)
    luck = np.stack([_luck(how, text, k) for text in texts for k in range(how.samples)])
    drawn, broken = _draw(model, given.to(model.device), torch.from_numpy(luck), how)
    found: dict[str, Continued] = {}
    for i, text in enumerate(texts):
        rows = slice(i * how.samples, (i + 1) * how.samples)
        if broken[rows].any():
            found[text] = excluded("not finite")
        else:
            found[text] = tuple(_text(model, ids[text], row) for row in drawn[rows].tolist())
    return found


def _luck(how: Sampling, text: str, sample: int) -> Float[np.ndarray, " tokens"]:
    """The random numbers of one continuation."""
    named = json.dumps([how.seed, text, sample]).encode()
    words = np.frombuffer(hashlib.sha256(named).digest(), dtype=np.uint32)
    return np.random.default_rng(words).random(how.tokens)


def _draw(
    model: Model,
    given: Int[Tensor, "rows prompt"],
    luck: Float[Tensor, "rows tokens"],
    how: Sampling,
) -> tuple[Int[Tensor, "rows drawn"], Tensor]:
    """Ids that follow, and which rows met an answer that is no number; whole rows are ended."""
    tokenizer: Any = model.tokenizer
    ends = torch.tensor(sorted({*tokenizer.all_special_ids}), device=given.device)
    luck = luck.to(given.device)
    broken = torch.zeros(len(given), dtype=torch.bool, device=given.device)
    ended = broken.clone()
    drawn: list[Tensor] = []
    past: Any = None
    with torch.inference_mode():
        for step in range(how.tokens):
            out: Any = model.network(given, past_key_values=past, use_cache=True)
            past = getattr(out, "past_key_values", None)
            logits = out.logits[:, -1, : len(tokenizer)].double()
            broken |= ~torch.isfinite(logits).all(-1)
            new = pick(logits.nan_to_num(), luck[:, step], how)[:, None]
            drawn.append(new)
            ended |= torch.isin(new[:, 0], ends)
            if ended.all():
                break
            given = torch.cat([given, new], 1) if past is None else new
    return torch.cat(drawn, 1).cpu(), broken.cpu()


def pick(
    logits: Float[Tensor, "rows vocabulary"], luck: Float[Tensor, " rows"], how: Sampling
) -> Int[Tensor, " rows"]:
    """The id whose stretch of [0, 1] holds the row's random number, stretches as wide as likely."""
    likely = (logits / how.temperature).softmax(-1)
    if how.top_p is not None:
        ordered, places = likely.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(-1) - ordered
        kept = ordered.masked_fill(before >= how.top_p, 0.0)
        likely = torch.zeros_like(likely).scatter(-1, places, kept)
    ends = likely.cumsum(-1)
    wanted = (luck[:, None] * ends[:, -1:]).contiguous()
    return torch.searchsorted(ends, wanted, right=True)[:, 0].clamp(max=logits.shape[1] - 1)


def _text(model: Model, prompt: Sequence[int], drawn: Sequence[int]) -> Continuation:
    """What is drawn up to the first special token, as text behind the prompt."""
    tokenizer: Any = model.tokenizer
    special = {*tokenizer.all_special_ids}
    at = next((i for i, id in enumerate(drawn) if id in special), len(drawn))

    def decoded(ids: Sequence[int]) -> str:
        told: str = tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return told

    head, whole = decoded([*prompt]), decoded([*prompt, *drawn[:at]])
    text = whole.removeprefix(head) if whole.startswith(head) else decoded(drawn[:at])
    return Continuation(text=text, tokens=at, ended=at < len(drawn))
