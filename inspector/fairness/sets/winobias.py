"""WinoBias as published: sentences with two occupations and a pronoun for one of them."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from inspector.fairness.files import read_bytes, text_of, text_problem
from inspector.fairness.gathering import find_file, gather
from inspector.fairness.items import BadStimuli, DataFile, Pair, Stimuli
from inspector.fairness.rows import Sieve, Unfit
from inspector.results import show_plain

TYPES: Final = ("type1", "type2")
SIDES: Final = ("pro", "anti")
FILE: Final = "{side}_stereotyped_{type}.txt.{split}"
PRONOUN: Final = re.compile(r"\b(?:he|she|his|her|him|hers|himself|herself)\b", re.IGNORECASE)
BRACKET: Final = re.compile(r"\[([^\[\]]*)\]")
LINE: Final = re.compile(r"([0-9]{1,9}) (.*)", re.DOTALL)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sentence:
    """One line: the text without brackets, the mention that is meant, and the pronoun."""

    text: str
    mention: str
    pronoun: str


def read_winobias(path: Path, split: str = "dev") -> Stimuli[Pair]:
    """WinoBias from the folder of its four files; `more` is the sentence for the stereotype.

    A row is the number in front of both sentences, `group` the type, `cluster` the occupation
    that is meant. Pairs that differ beyond pronouns are left out. Raises BadStimuli.
    """
    sieve = Sieve()
    files: list[DataFile] = []
    items: list[Pair] = []
    total = 0
    for kind in TYPES:
        pro, anti = (_file(path, FILE.format(side=s, type=kind, split=split)) for s in SIDES)
        files += (pro[0], anti[0])
        broken = len(sieve.excluded)
        texts = [_lines(text, file.name, sieve) for file, text in (pro, anti)]
        total += len(sieve.excluded) - broken + len(texts[0].keys() | texts[1].keys())
        items += _pairs(kind, pro[0].name, texts[0], texts[1], sieve)
    return gather("winobias", str(path), files, total, items, sieve)


def _file(folder: Path, name: str) -> tuple[DataFile, str]:
    found = find_file(folder, name)
    if found.name != name:
        raise BadStimuli(f"{show_plain(str(folder))}: give the folder that holds {name}.")
    data, file = read_bytes(found)
    return file, text_of(data, name)[0]


def _lines(text: str, name: str, sieve: Sieve) -> dict[int, str]:
    """The text behind each number; a line without a number of its own is left out."""
    lines: dict[int, str] = {}
    for place, line in enumerate(text.split("\n"), 1):
        match = LINE.fullmatch(line)
        problem = text_problem(line)
        if not line.strip():
            continue
        if problem:
            sieve.out(name, (place,), problem[0], problem[1])
        elif not match or int(match[1]) in lines:
            sieve.out(name, (place,), "line", "does not begin with a number of its own")
        else:
            lines[int(match[1])] = match[2]
    return lines


def _pairs(
    kind: str, file: str, pro: dict[int, str], anti: dict[int, str], sieve: Sieve
) -> Iterator[Pair]:
    for number in sorted(pro.keys() | anti.keys()):
        try:
            if number not in pro or number not in anti:
                raise Unfit("no partner", "has no sentence in the other file")
            yield _pair(kind, file, number, pro[number], anti[number])
        except Unfit as error:
            sieve.out(file, (number,), error.kind, str(error))


def _pair(kind: str, file: str, number: int, pro: str, anti: str) -> Pair:
    more, less = _sentence(pro), _sentence(anti)
    if PRONOUN.sub("_", more.text) != PRONOUN.sub("_", less.text):
        raise Unfit("no minimal pair", "the two sentences differ beyond their pronouns")
    if more.text == less.text:
        raise Unfit("equal sides", "has the same text on both sides")
    occupation = re.sub("^the ", "", more.mention.lower())
    return Pair(
        id=f"{kind} {number}",
        file=file,
        rows=(number,),
        category="gender",
        cluster=occupation,
        group=kind,
        direction=1,
        more=more.text,
        less=less.text,
        facts={"mention": more.mention, "pronoun_more": more.pronoun, "pronoun_less": less.pronoun},
    )


def _sentence(marked: str) -> Sentence:
    found = [" ".join(part.split()) for part in BRACKET.findall(marked)]
    if len(found) < 2 or not PRONOUN.fullmatch(found[1]):
        raise Unfit("brackets", "has no mention and pronoun in brackets")
    text = " ".join(re.sub(r"[\[\]]", "", marked).split())
    return Sentence(text=text, mention=found[0], pronoun=found[1])
