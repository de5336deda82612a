"""What probes ask about: frozen records of items, and the sets that hold them."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Generic, Literal, TypeVar

from inspector.errors import InspectorError
from inspector.results import show_plain

Fact = str | int | float | bool | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """What every item has: `rows` of `file` that it was made from, so that it can be found again.

    A row is a line (the one on which it begins) or, in one big JSON document, a place from 1.
    `id` is unique within the set and the same for every model. `facts` is whatever else the file
    says about it.
    """

    id: str
    file: str
    rows: tuple[int, ...]
    category: str
    facts: Mapping[str, Fact] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair(Item):
    """Two texts of which `more` is the one that the stereotype favours.

    `cluster` is the unit that was drawn (template, occupation; the item itself where none is
    known), `group` a part that is reported on its own. `direction` is +1 where the stereotype
    is about the disadvantaged group, -1 where it is not, 0 in a control.
    """

    cluster: str
    group: str
    direction: int
    more: str
    less: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """One sentence of a triple as it was written, and where its filling word stands.

    `word` is None and `spans` is empty where the whole sentence is the candidate. Spans are
    characters, first to one past the last.
    """

    text: str
    word: str | None
    spans: tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Triple(Item):
    """A context with a stereotype, an anti-stereotype and a candidate without meaning.

    `kind` says whether candidates fill a blank of the context or follow it; `cluster` is the
    target term.
    """

    cluster: str
    kind: Literal["intrasentence", "intersentence"]
    context: str
    stereotype: Candidate
    anti: Candidate
    unrelated: Candidate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice(Item):
    """A question with options, of which `correct` is the place of the right one (from 0).

    `target` is the option the stereotype speaks of, `biased` the answer that agrees with it,
    `unknown` the one that declines; each None where the set has none.
    """

    cluster: str
    group: str
    context: str
    question: str
    options: tuple[str, ...]
    correct: int
    target: int | None
    biased: int | None
    unknown: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Template(Item):
    """A sentence with slots in braces, each of which stands in it once, in that order."""

    text: str
    slots: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target(Item):
    """What fills the slot `target`, and whom it names.

    `direction` in [-1, 1] is positive where the stereotype makes the first word of a pair the
    likelier one. `neutral` is the text that takes its place in the comparison. A `control`
    names nobody in particular: no model has a reason to tell it from its neutral text.
    """

    text: str
    group: str
    direction: float
    neutral: str
    control: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class WordPair(Item):
    """Two words for the slot `attribute`; in a `control` neither is part of a stereotype."""

    first: str
    second: str
    control: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contrast:
    """A template filled four ways: target or neutral text, first or second word of a pair.

    `before` and `after` stand around the attribute in the sentence of the target,
    `neutral_before` and `neutral_after` in that of the neutral text. `direction` is the
    target's; controls come with `control` True, whatever made them one.
    """

    id: str
    category: str
    template: str
    target: str
    group: str
    pair: str
    direction: float
    control: bool
    words: tuple[str, str]
    before: str
    after: str
    neutral_before: str
    neutral_after: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class WordTest(Item):
    """Four word lists of an association test: targets `x` and `y`, attributes `a` and `b`."""

    names: tuple[str, str, str, str]
    x: tuple[str, ...]
    y: tuple[str, ...]
    a: tuple[str, ...]
    b: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Descriptor(Item):
    """A word or phrase for a group of people: category is its axis, `group` its bucket.

    `singular` and `plural` are noun phrases that may hold {article} and {noun}; plural is None
    where the set has none. `word` is the bare descriptor, None for a whole phrase.
    """

    group: str
    word: str | None
    singular: str
    plural: str | None
    preference: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labelled(Item):
    """A text with its right label (also its category) and a group for each attribute."""

    text: str
    label: str
    groups: Mapping[str, str]


T = TypeVar("T", bound=Item)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remark:
    """What is to be said about rows of a file: `kind` is one word, `statement` a sentence."""

    file: str
    rows: tuple[int, ...]
    kind: str
    statement: str

    def __str__(self) -> str:
        place = "" if not self.rows else f"row {', '.join(map(str, self.rows[:6]))}"
        place += f" and {len(self.rows) - 6} more" if len(self.rows) > 6 else ""
        where = ", ".join(part for part in (show_plain(self.file), place) if part)
        return f"{where}: {self.statement}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataFile:
    """One file that was read: name, size, sha256 of its bytes."""

    name: str
    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class About:
    """What a set is: who made it, how it may be used, and what is known to be wrong with it."""

    title: str
    measures: str
    licence: str
    citation: str
    upstream: str
    criticism: tuple[str, ...]
    ideal: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stimuli(Generic[T]):
    """A set of items with all that was left out of it and where it comes from.

    Every row that was read is in `rows` of an item or of a remark in `excluded`; `notes` say
    what is odd about rows that were kept. `origin` is a path, `hub:ID@REVISION` or `package`.
    """

    name: str
    about: About
    origin: str
    files: tuple[DataFile, ...]
    rows: int
    items: tuple[T, ...]
    excluded: tuple[Remark, ...]
    notes: tuple[Remark, ...]

    @property
    def sha256(self) -> str:
        """One digest for the data: that of the file, or of the digests of several, by name."""
        if len(self.files) == 1:
            return self.files[0].sha256
        lines = sorted(f"{file.sha256}  {file.name}\n" for file in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def reasons(self) -> dict[str, int]:
        """How many items were left out for each kind of reason, the most frequent first."""
        return dict(Counter(remark.kind for remark in self.excluded).most_common())

    def categories(self) -> dict[str, int]:
        """How many items each category has, the largest first."""
        return dict(Counter(item.category for item in self.items).most_common())


class BadStimuli(InspectorError):
    """Test material of which nothing can be used; `remarks` says why, row by row."""

    def __init__(self, message: str, remarks: Sequence[Remark] = ()) -> None:
        super().__init__(message)
        self.remarks = tuple(remarks)
