"""Texts with the words of one group put in the place of another's; nothing is guessed."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Final

from inspector.errors import BadOption
from inspector.results import show_plain

AMBIGUOUS: Final[Mapping[str, str]] = {
    "her": "him or his",
    "his": "her or hers",
}
"""English words whose counterpart hangs on the sentence."""
PRONOUNS: Final = frozenset(("he", "she", "him", "her", "his", "hers", "himself", "herself"))
REASONS: Final[Mapping[str, str]] = {
    "no word": "it holds none of the words that are swapped",
    "ambiguous": "it holds a word whose counterpart is not one and the same",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Swapped:
    """A text with every word replaced by its counterpart; None where that cannot be done, and why.

    `toward` is 1 where only first words stood in it, so that it now has the second ones, -1 the
    other way round, 0 where both did.
    """

    text: str | None
    toward: int
    excluded: str | None
    told: str | None


class Swapper:
    """Swaps words in texts both ways, by pairs such as ("he", "she").

    A word given in several pairs, and English words such as "her", have no one counterpart: texts
    that hold them are left out. Raises BadOption for pairs that are none.
    """

    def __init__(self, pairs: Sequence[Sequence[str]]) -> None:
        known: dict[str, tuple[str, int]] = {}
        unclear: dict[str, str] = {}
        for pair in pairs:
            first, second = _pair(pair)
            for word, other, side in ((first, second, 1), (second, first, -1)):
                if known.get(word, (other, side)) != (other, side):
                    unclear[word] = f"{known[word][0]} or {other}"
                known[word] = (other, side)
        if not known:
            raise BadOption("No pairs of words are given: name two words each, such as he, she.")
        if not PRONOUNS.isdisjoint(known):
            unclear |= AMBIGUOUS
        self.unclear = unclear
        self.known = {word: other for word, other in known.items() if word not in unclear}
        words = sorted({*self.known, *unclear}, key=len, reverse=True)  # the longest first
        parts = "|".join(re.escape(word) for word in words)
        self.found = re.compile(rf"(?<!\w)(?:{parts})(?!\w)", re.IGNORECASE)

    def __call__(self, text: str) -> Swapped:
        """The text with its words swapped; a word keeps its capitals."""
        matches = list(self.found.finditer(text))
        if not matches:
            return left_out("no word", "")
        parts, sides, end = [], set(), 0
        for match in matches:
            other = self.other(match)
            if other is None:
                word = match.group().lower()
                return left_out("ambiguous", f": {word!r} may become {self.unclear[word]}")
            parts += [text[end : match.start()], _cased(match.group(), other[0])]
            sides.add(other[1])
            end = match.end()
        return Swapped(
            text="".join([*parts, text[end:]]),
            toward=sides.pop() if len(sides) == 1 else 0,
            excluded=None,
            told=None,
        )

    def other(self, match: re.Match[str]) -> tuple[str, int] | None:
        """The counterpart of a word where it stands, and its side; None where it has no one."""
        return self.known.get(match.group().lower())


def _pair(pair: Sequence[str]) -> tuple[str, str]:
    words = [str(word).strip().lower() for word in pair] if not isinstance(pair, str) else []
    if len(words) != 2 or not all(words) or words[0] == words[1]:
        raise BadOption(
            f"{show_plain(str(pair), 80)} is no pair of words: give two different ones, such as "
            "he, she."
        )
    return words[0], words[1]


def left_out(reason: str, more: str) -> Swapped:
    """What is said of a text that cannot be swapped; `reason` is a key of REASONS."""
    return Swapped(text=None, toward=0, excluded=reason, told=REASONS[reason] + more)


def _cased(old: str, new: str) -> str:
    if old.isupper() and len(old) > 1:
        return new.upper()
    return new[0].upper() + new[1:] if old[0].isupper() else new
