"""HolisticBias as published: words for groups of people, nouns, and sentences to put them in."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from inspector.fairness.files import read_bytes, text_of
from inspector.fairness.gathering import find_file, gather
from inspector.fairness.items import BadStimuli, DataFile, Descriptor, Stimuli
from inspector.fairness.rows import Row, Sieve, Unfit, parse_json
from inspector.results import show_plain

DESCRIPTORS: Final = "descriptors.json"
PHRASES: Final = "standalone_noun_phrases.json"
NOUNS: Final = "nouns.json"
SENTENCES: Final = "sentence_templates.json"
GENDERS: Final = ("female", "male", "neutral")
NONCE: Final = "nonce"
"""The axis of words without meaning: a control that no model has a reason to tell apart."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noun:
    """A noun for a person, and the gender it states."""

    gender: str
    singular: str
    plural: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frame:
    """A sentence with the slot {noun_phrase} or {plural_noun_phrase}."""

    text: str
    plural: bool
    first_turn_only: bool
    must_be_noun: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frames:
    """What descriptors are put into, with what identifies the two files."""

    nouns: tuple[Noun, ...]
    sentences: tuple[Frame, ...]
    files: tuple[DataFile, ...]


def read_holistic(path: Path, phrases: bool = False) -> Stimuli[Descriptor]:
    """Descriptors from `descriptors.json` or its folder; `phrases` adds the standalone ones.

    A row is the place of a descriptor in its file, from 1. Raises BadStimuli.
    """
    sieve = Sieve()
    names = (DESCRIPTORS, PHRASES) if phrases else (DESCRIPTORS,)
    files, items, total = [], [], 0
    for name in names:
        document, file = _document(path, name)
        rows = list(_entries(document, file.name, buckets=name == DESCRIPTORS))
        items += sieve.sift(rows, _descriptor if name == DESCRIPTORS else _phrase)
        files.append(file)
        total += len(rows)
    return gather("holistic-bias", str(path), files, total, items, sieve)


def _document(path: Path, name: str) -> tuple[Mapping[str, Any], DataFile]:
    found = find_file(path, name)
    data, file = read_bytes(found if found.name == name else found.with_name(name))
    try:
        document = parse_json(text_of(data, file.name)[0])
    except Unfit as error:
        raise BadStimuli(f"{show_plain(file.name)}: {error}.") from None
    if not isinstance(document, dict):
        raise BadStimuli(f"{show_plain(file.name)}: is no JSON object.")
    return document, file


def _entries(document: Mapping[str, Any], file: str, *, buckets: bool) -> Iterator[Row]:
    place = 0
    for axis, below in document.items():
        groups = below if buckets else {"all": below}
        if not isinstance(groups, dict) or not all(isinstance(g, list) for g in groups.values()):
            raise BadStimuli(f"{show_plain(file)}: {show_plain(axis)} holds no lists.")
        for group, entries in groups.items():
            for entry in entries:
                place += 1
                fields = entry if isinstance(entry, dict) else {"word": entry}
                fields = {**fields, "axis": axis, "bucket": group}
                yield Row(file=file, line=place, fields=fields)


def _descriptor(row: Row) -> Descriptor:
    word = row.text("descriptor" if "descriptor" in row.fields else "word")
    article = row.optional("article", "{article}")
    return _made(row, word, f"{article} {word} {{noun}}", f"{word} {{noun}}", f"{word}")


def _phrase(row: Row) -> Descriptor:
    singular = row.text("noun_phrase" if "noun_phrase" in row.fields else "word")
    plural = row.optional("plural_noun_phrase", "") or None
    key = f"phrase {singular} / {plural}" if plural else f"phrase {singular}"
    return _made(row, None, singular, plural, key)


def _made(row: Row, word: str | None, singular: str, plural: str | None, key: str) -> Descriptor:
    axis, group = row.text("axis"), row.text("bucket")
    gender = row.one_of("gender", GENDERS) if "gender" in row.fields else None
    return Descriptor(
        id=f"{axis} {group} {key}",
        file=row.file,
        rows=(row.line,),
        category=axis,
        group=group,
        word=word,
        singular=singular,
        plural=plural,
        preference=row.optional("preference", "") or None,
        facts={"gender": gender},
    )


def read_frames(path: Path) -> Frames:
    """Nouns and sentences from the folder of HolisticBias; raises BadStimuli."""
    nouns, noun_file = _document(path, NOUNS)
    sentences, sentence_file = _document(path, SENTENCES)
    return Frames(
        nouns=tuple(_nouns(nouns, noun_file.name)),
        sentences=tuple(_frames(sentences, sentence_file.name)),
        files=(noun_file, sentence_file),
    )


def _nouns(document: Mapping[str, Any], file: str) -> Iterator[Noun]:
    for gender, pairs in document.items():
        if gender not in GENDERS or not isinstance(pairs, list):
            raise BadStimuli(f"{show_plain(file)}: {show_plain(gender)} is no list of a gender.")
        for place, pair in enumerate(pairs, 1):
            if not (isinstance(pair, list) and len(pair) == 2 and all(map(_is_text, pair))):
                raise BadStimuli(f"{show_plain(file)}: {gender} {place} is no pair of words.")
            yield Noun(gender=gender, singular=pair[0], plural=pair[1])


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _frames(document: Mapping[str, Any], file: str) -> Iterator[Frame]:
    for text, flags in document.items():
        slots = re.findall(r"\{[^{}]*\}", text)
        if slots not in (["{noun_phrase}"], ["{plural_noun_phrase}"]) or not isinstance(
            flags, dict
        ):
            raise BadStimuli(f"{show_plain(file)}: {show_plain(text)} has no slot for a phrase.")
        yield Frame(
            text=text,
            plural="plural" in slots[0],
            first_turn_only=flags.get("first_turn_only") is True,
            must_be_noun=flags.get("must_be_noun") is True,
        )


def sentence(descriptor: Descriptor, noun: Noun, frame: Frame) -> str | None:
    """The sentence that says a descriptor of somebody; None where the three do not go together.

    They do not where the descriptor states another gender than the noun, or has no plural.
    `a` becomes `an` before a vowel, unless the descriptor states its article.
    """
    gender = descriptor.facts.get("gender")
    if gender and noun.gender not in (gender, "neutral"):
        return None
    phrase = descriptor.plural if frame.plural else descriptor.singular
    if phrase is None:
        return None
    phrase = phrase.replace("{noun}", noun.plural if frame.plural else noun.singular)
    if frame.plural:
        phrase = " ".join(phrase.replace("{article}", "").split())
    else:
        article = "an" if phrase.removeprefix("{article} ")[:1].lower() in "aeiou" else "a"
        phrase = phrase.replace("{article}", article)
    return frame.text.format(noun_phrase=phrase, plural_noun_phrase=phrase)
