"""Sentences as a scorer reads them: ids, what may be scored of them, and why one cannot be."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from inspector.errors import UnsupportedModel
from inspector.model.features import check_ids
from inspector.model.load import Model
from inspector.model.texts import context

Spans = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sentence:
    """A text to score; spans are characters of it, first to one past the last.

    `scored`: only tokens of these spans are (None: all of them). `hidden`: what a masked model is
    not shown. `other`: the sentence it is compared with, for scorers of what both share.
    """

    text: str
    scored: Spans | None = None
    hidden: Spans = ()
    other: str | None = None

    @property
    def key(self) -> str:
        """A name for all that is asked: sha256 of its fields."""
        return hashlib.sha256(json.dumps(dataclasses.asdict(self)).encode()).hexdigest()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tokens:
    """A sentence's ids as the model reads them, and what each stands for.

    `free`: positions that are words of the text, not put around it. `spans` are their characters,
    `words` the number of the word each is a piece of (None: of none).
    """

    ids: tuple[int, ...]
    free: tuple[int, ...]
    spans: Spans
    words: tuple[int | None, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Excluded:
    """Why a sentence has no score: `reason` is one of REASONS, `told` what it was here."""

    reason: str
    told: str


REASONS = {
    "empty": "there is nothing to score",
    "not text": "it holds half a surrogate pair, which is no text",
    "unknown": "a word is not in the vocabulary: its probability would be that of any such word",
    "special": "it holds a special token, such as a mask, in its text",
    "too long": "the model does not see as many tokens at once; nothing is cut",
    "cut": "a token is part of what is scored, or hidden, and of what is not",
    "nothing shared": "the two sentences share no token",
    "first": "its first token has nothing before it, and the tokenizer names no beginning",
    "not finite": "the model's answer is no number",
    "other": "the sentence that it is compared with cannot be scored",
}
"""Every reason for which a sentence is left out."""


def excluded(reason: str, more: str = "") -> Excluded:
    """A reason of REASONS in words."""
    return Excluded(reason=reason, told=REASONS[reason] + (f": {more}" if more else ""))


def beginning(model: Model) -> int | None:
    """The id that a causal model is given before any text; None where its tokenizer has none.

    Its own token for the beginning, else that for the end, as documents are parted in training.
    """
    tokenizer: Any = model.tokenizer
    found: int | None = tokenizer.bos_token_id
    return tokenizer.eos_token_id if found is None else found


def read_sentences(model: Model, texts: Sequence[str]) -> list[Tokens | Excluded]:
    """Texts as ids: what the tokenizer puts around them, in causal models the beginning alone.

    A text with unknown words, with special tokens of its own or longer than the model's window is
    not scored: it comes back with the reason. Raises UnsupportedModel for a tokenizer that does
    not say which characters a token stands for.
    """
    if not model.tokenizer.is_fast:
        raise UnsupportedModel(
            f"{type(model.tokenizer).__name__} does not say which characters a token stands for: "
            "it has no tokenizer.json."
        )
    given = [i for i, text in enumerate(texts) if is_text(text)]
    found: list[Tokens | Excluded] = [excluded("not text") for _ in texts]
    for i, tokens in zip(given, _tokens(model, [texts[i] for i in given]), strict=True):
        found[i] = _problem(model, tokens) or tokens
    return found


def is_text(text: str) -> bool:
    """Whether a text has a UTF-8 form: half a surrogate pair has none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _tokens(model: Model, texts: list[str]) -> Iterator[Tokens]:
    if not texts:
        return
    tokenizer: Any = model.tokenizer
    causal = model.kind == "causal"
    begin = beginning(model) if causal else None
    read = tokenizer(
        texts,
        add_special_tokens=not causal,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        verbose=False,
    )
    for i, ids in enumerate(read["input_ids"]):
        lead = [] if begin is None else [begin]
        check_ids(model, [*lead, *ids])
        special = read["special_tokens_mask"][i]
        shift = len(lead)
        yield Tokens(
            ids=(*lead, *ids),
            free=tuple(shift + j for j in range(len(ids)) if not special[j]),
            spans=(*[(0, 0)] * shift, *((int(a), int(b)) for a, b in read["offset_mapping"][i])),
            words=(*[None] * shift, *read.word_ids(i)),
        )


def _problem(model: Model, tokens: Tokens) -> Excluded | None:
    tokenizer: Any = model.tokenizer
    words = [tokens.ids[i] for i in tokens.free]
    limit = context(model)
    if not words:
        return excluded("empty")
    unknown = words.count(tokenizer.unk_token_id)
    # of byte-level vocabularies the token for unknown words is that for the end: special
    if unknown and tokenizer.unk_token_id not in (tokenizer.eos_token_id, tokenizer.bos_token_id):
        return excluded("unknown", f"{unknown} of {len(words)} tokens")
    if not set(tokenizer.all_special_ids).isdisjoint(words):
        return excluded("special")
    if limit is not None and len(tokens.ids) > limit:
        return excluded("too long", f"{len(tokens.ids)} tokens; it sees {limit}")
    return None


def within(sentence: Sentence, tokens: Tokens, spans: Spans) -> tuple[int, ...] | Excluded:
    """Positions of the tokens that make up spans; the space before a word may come with it."""
    found = []
    for i in tokens.free:
        start, end = tokens.spans[i]
        for first, last in spans:
            if start < last and (end > first or start == end == first):
                outside = sentence.text[start:first] + sentence.text[max(last, start) : end]
                if outside.strip():
                    return excluded("cut")
                found.append(i)
                break
    return tuple(found) if found else excluded("empty")
