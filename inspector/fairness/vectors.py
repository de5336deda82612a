"""Vectors of words as a model's last layer gives them, each pooled in a way that has a name."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption
from inspector.fairness.batching import TOKENS
from inspector.fairness.sentences import Excluded, Sentence, Tokens, read_sentences, within
from inspector.fairness.words import Word, read_words
from inspector.model.kinds import Kind
from inspector.model.load import Model

WORD_MEAN: Final = "word-mean"
WORD_LAST: Final = "word-last"
CLS: Final = "cls"
POOLINGS: Final[Mapping[str, str]] = {
    WORD_MEAN: "mean of the word's pieces, last layer",
    WORD_LAST: "last piece of the word, last layer",
    CLS: "the token put before the text, last layer",
}
"""What stands for a word in a text; in causal models only its last piece has seen all of it."""
PRIMARY: Final[Mapping[Kind, str]] = {"causal": WORD_LAST}  # else WORD_MEAN

Vector = Float[np.ndarray, " width"]


def pooling_of(model: Model, pooling: str | None) -> str:
    """The pooling that was named, else the model's own; BadOption for one it cannot have."""
    chosen = pooling or PRIMARY.get(model.kind, WORD_MEAN)
    if chosen not in POOLINGS:
        raise BadOption(f"There is no pooling {chosen!r}; known are {', '.join(POOLINGS)}.")
    if chosen == CLS and model.kind == "causal":
        raise BadOption(f"{CLS}: what stands before the text in a causal model has seen no word.")
    return chosen


def known_words(model: Model, words: Sequence[str]) -> dict[str, Word]:
    """Words as the model's tokenizer reads them after a space."""
    tokenizer: Any = model.tokenizer
    own = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    own.no_truncation()
    own.no_padding()
    return read_words(own, words)


def alone(model: Model, word: Word) -> Sentence:
    """A word as a text of its own, written so that it is read as in a sentence."""
    tokenizer: Any = model.tokenizer
    read = tokenizer(word.word, add_special_tokens=False)["input_ids"]
    lead = "" if tuple(read) == word.ids else " "
    return Sentence(text=lead + word.word, scored=((len(lead), len(lead) + len(word.word)),))


def filled(template: str, word: str) -> Sentence:
    """A word in the place of {word} of a sentence."""
    before, after = template.split("{word}")
    return Sentence(text=before + word + after, scored=((len(before), len(before) + len(word)),))


def word_vectors(
    model: Model, sentences: Sequence[Sentence], pooling: str, progress: Progress = no_progress
) -> list[Vector | Excluded]:
    """What stands for the scored span of each sentence after the last layer, as float64.

    Of encoder-decoders after the encoder. A sentence that cannot be read comes back with the
    reason. Progress counts sentences; each runs once, beside others of its length, unpadded.
    """
    found: list[Vector | Excluded] = []
    asked: dict[tuple[int, ...], list[int]] = {}
    places: dict[int, tuple[int, ...]] = {}
    read = read_sentences(model, [one.text for one in sentences])
    for i, (sentence, tokens) in enumerate(zip(sentences, read, strict=True)):
        where = tokens if isinstance(tokens, Excluded) else _places(sentence, tokens, pooling)
        found.append(where if isinstance(where, Excluded) else np.zeros(0))
        if not isinstance(where, Excluded) and not isinstance(tokens, Excluded):
            asked.setdefault(tokens.ids, []).append(i)
            places[i] = where
    done = 0
    for batch in _batches(model, list(asked)):
        progress(done, len(asked), "texts")
        done += len(batch)
        hidden = _hidden(model, batch)
        for ids, states in zip(batch, hidden, strict=True):
            for i in asked[ids]:
                found[i] = states[list(places[i])].mean(0).double().cpu().numpy()
    return found


def _places(sentence: Sentence, tokens: Tokens, pooling: str) -> tuple[int, ...] | Excluded:
    """The positions whose mean stands for the word."""
    assert sentence.scored is not None
    if pooling == CLS:
        if tokens.free[0] == 0:
            raise BadOption(f"{CLS}: this tokenizer puts nothing before a text.")
        return (0,)
    where = within(sentence, tokens, sentence.scored)
    if isinstance(where, Excluded) or pooling == WORD_MEAN:
        return where
    return where[-1:]


def _batches(model: Model, every: Sequence[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    lengths: dict[int, list[tuple[int, ...]]] = {}
    for ids in every:
        lengths.setdefault(len(ids), []).append(ids)
    most = TOKENS.get(model.device.type, TOKENS["cpu"])
    for length, alike in sorted(lengths.items()):
        step = max(1, most // length)
        for begin in range(0, len(alike), step):
            yield alike[begin : begin + step]


def _hidden(model: Model, batch: Sequence[tuple[int, ...]]) -> Float[Tensor, "batch tokens width"]:
    """What the network's body gives, before any head."""
    network: Any = model.network
    body = network.get_encoder() if model.kind == "encoder-decoder" else network.base_model
    ids = torch.tensor(batch, device=model.device)
    with torch.inference_mode():
        hidden: Tensor = body(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    return hidden
