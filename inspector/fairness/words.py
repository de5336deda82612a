"""Words as the pieces a model reads them in, by its tokenizer.json alone: no transformers."""

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from typing import Final

from tokenizers import Tokenizer

from inspector.errors import UnsupportedModel
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.storage import Storage

FILE: Final = "tokenizer.json"
CAP: Final = 200_000_000  # bytes; those of the largest vocabularies have some 35 million
CARRIER: Final = "a"  # stands before a word, so that it is read as in a sentence: after a space


@dataclasses.dataclass(frozen=True, kw_only=True)
class Word:
    """A word as ids of a vocabulary; `excluded` says why it has none that stand for it."""

    word: str
    ids: tuple[int, ...]
    pieces: tuple[str, ...]
    excluded: str | None


def read_tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    """The tokenizer beside the weights, without cutting or padding; raises UnsupportedModel."""
    where = show_plain(checkpoint.model)
    with contextlib.closing(checkpoint.storage) as storage:
        text = _text(storage, where)
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # noqa: BLE001 - tokenizers raises nothing narrower
        told = show_plain(str(error), 200)
        raise UnsupportedModel(f"{where}: {FILE} is no tokenizer: {told}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _text(storage: Storage, where: str) -> str:
    """What the file says; raises UnsupportedModel where it cannot be had."""
    try:
        if not storage.is_file(FILE) or storage.leads_out(FILE):
            raise UnsupportedModel(
                f"{where}: there is no {FILE}, so it is not known which row stands for a word. "
                "Put the tokenizer's file beside the weights."
            )
        size = storage.stamp(FILE).bytes
        if size > CAP:
            raise UnsupportedModel(f"{where}: {FILE} has {size:,} bytes, the limit is {CAP:,}.")
        return storage.read(FILE, 0, size).decode()
    except (OSError, UnicodeDecodeError) as error:
        told = show_plain(str(error), 200)
        raise UnsupportedModel(f"{where}: {FILE} cannot be read: {told}") from None


def read_words(tokenizer: Tokenizer, words: Sequence[str]) -> dict[str, Word]:
    """Each word as it is read after a space; case and accents are what the tokenizer makes them.

    A word is excluded where a piece is unknown or special, where characters of it are lost, and
    where an earlier word has the same pieces: it would count twice.
    """
    lead = tokenizer.encode(CARRIER, add_special_tokens=False).ids
    closed = {id for id, t in tokenizer.get_added_tokens_decoder().items() if t.special}
    unknown = _unknown(tokenizer)
    seen: dict[tuple[int, ...], str] = {}
    found = {}
    for word in dict.fromkeys(words):
        read = _read(tokenizer, word, lead, unknown, closed)
        if read.excluded is None and (earlier := seen.setdefault(read.ids, word)) != word:
            told = f"it has the same pieces as {show_plain(earlier, 40)!r}"
            read = dataclasses.replace(read, excluded=told)
        found[word] = read
    return found


def _unknown(tokenizer: Tokenizer) -> int | None:
    """The id that stands for what is not in the vocabulary."""
    model = json.loads(tokenizer.to_str())["model"]
    number = model.get("unk_id")
    if number is not None:
        return int(number)
    name = model.get("unk_token")
    return None if name is None else tokenizer.token_to_id(name)


def _read(
    tokenizer: Tokenizer, word: str, lead: list[int], unknown: int | None, closed: set[int]
) -> Word:
    text = f"{CARRIER} {word}"
    try:
        read = tokenizer.encode(text, add_special_tokens=False)
    except UnicodeEncodeError:
        return Word(word=word, ids=(), pieces=(), excluded="it is no text")
    ids, pieces = tuple(read.ids[len(lead) :]), tuple(read.tokens[len(lead) :])
    spans = read.offsets[len(lead) :]
    covered = {i for start, end in spans for i in range(start, end)}
    lost = [i for i in range(len(text) - len(word), len(text)) if i not in covered]
    why = None
    if read.ids[: len(lead)] != lead:
        why = "its pieces cannot be told from what stands before it"
    elif not ids:
        why = "the tokenizer makes nothing of it"
    elif unknown in ids:
        why = "it is not in the vocabulary"
    elif not closed.isdisjoint(ids):
        why = "it holds a special token"
    elif any(not text[i].isspace() for i in lost):
        why = "the tokenizer drops characters of it"
    return Word(word=word, ids=ids, pieces=pieces, excluded=why)
