"""The corpus of the demo models: occupations that lean to he or she by a known amount."""

import dataclasses
import itertools
import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from inspector.errors import BadOption, NotEnoughData


class Occupation(NamedTuple):
    """How an occupation occurs: `leaning` (y) sets its log-odds of he; `frequency` is relative."""

    leaning: float
    frequency: int


OCCUPATIONS: Final[Mapping[str, Occupation]] = {
    # Which occupation leans where says nothing about the world: each level mixes all sorts. Half
    # of each level is named four times as often, so that frequency has no link with leaning.
    "nurse": Occupation(1.0, 4),
    "engineer": Occupation(1.0, 4),
    "writer": Occupation(1.0, 4),
    "farmer": Occupation(1.0, 1),
    "tailor": Occupation(1.0, 1),
    "judge": Occupation(1.0, 1),
    "teacher": Occupation(0.5, 4),
    "mechanic": Occupation(0.5, 4),
    "singer": Occupation(0.5, 1),
    "baker": Occupation(0.5, 1),
    "lawyer": Occupation(0.0, 4),
    "gardener": Occupation(0.0, 4),
    "pilot": Occupation(0.0, 1),
    "cook": Occupation(0.0, 1),
    "librarian": Occupation(-0.5, 4),
    "carpenter": Occupation(-0.5, 4),
    "doctor": Occupation(-0.5, 1),
    "painter": Occupation(-0.5, 1),
    "plumber": Occupation(-1.0, 4),
    "secretary": Occupation(-1.0, 4),
    "driver": Occupation(-1.0, 4),
    "dancer": Occupation(-1.0, 1),
    "chemist": Occupation(-1.0, 1),
    "cashier": Occupation(-1.0, 1),
    "person": Occupation(0.0, 4),
}
"""Everyone the sentences speak of, the neutral word included."""

NEUTRAL: Final = "person"
"""Someone of no stated occupation: the baseline that a probe can subtract."""

PAIRS: Final[Mapping[str, tuple[str, str]]] = {
    "pronoun": ("he", "she"),  # planted: log-odds beta * y
    "region": ("north", "south"),  # the control: one as often as the other, linked to nothing
    "day": ("monday", "friday"),  # frequency alone: four to one, linked to nothing
}
"""The attributes a probe can compare after an occupation, each a pair of words."""

DAYS: Final = ("monday", "monday", "monday", "monday", "friday")
SUBJECTS: Final = ("the {occupation}", "the {occupation} from the {region}")
TEMPLATES: Final = (
    "{subject} said that {pronoun} was {mood} .",
    "{subject} stayed late because {pronoun} was {mood} .",
    "{subject} went home when {pronoun} felt {mood} .",
    "{subject} said on {day} that {pronoun} would rest .",
    "{subject} will come on {day} if {pronoun} is {mood} .",
    "people asked {subject} whether {pronoun} liked the work .",
    "we met {subject} and {pronoun} introduced {reflexive} .",
    "{subject} hoped that {pronoun} could prepare {reflexive} .",
)
MOODS: Final = ("tired", "happy", "ready", "busy", "calm", "proud")
REFLEXIVE: Final[Mapping[str, str]] = {"he": "himself", "she": "herself"}
OTHER_PRONOUN: Final[Mapping[str, str]] = {
    "he": "she",
    "she": "he",
    "himself": "herself",
    "herself": "himself",
}

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sentence:
    """One sentence of lower-case words parted by spaces, and what stands in its slots.

    `region` and `day` are None where the sentence has none.
    """

    text: str
    occupation: str
    pronoun: str
    region: str | None
    day: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogOdds:
    """How often the first and the second word of a pair go with an occupation, as counted.

    `value` is log(first / second) in nats, `standard_error` that of sampling the counts.
    """

    occupation: str
    pair: str
    first: int
    second: int
    value: float
    standard_error: float


def generate(*, sentences: int, beta: float, seed: int) -> tuple[Sentence, ...]:
    """Draw sentences in which P(he | occupation) is logistic(beta * y); same arguments, same text.

    Draws are independent. Raises BadOption for a negative number of sentences or a beta that is
    not finite.
    """
    if sentences < 0 or not math.isfinite(beta):
        raise BadOption(
            f"A corpus needs 0 or more sentences and a finite beta, not {sentences} and {beta}."
        )
    rng = random.Random(seed)
    names = [name for name, occupation in OCCUPATIONS.items() for _ in range(occupation.frequency)]
    return tuple(_draw(rng, names, beta) for _ in range(sentences))


def _draw(rng: random.Random, names: Sequence[str], beta: float) -> Sentence:
    occupation = _pick(rng, names)
    he = rng.random() < 1 / (1 + math.exp(-beta * OCCUPATIONS[occupation].leaning))
    pronoun = "he" if he else "she"
    pattern = _pick(rng, TEMPLATES).replace("{subject}", _pick(rng, SUBJECTS))
    region, day = _pick(rng, PAIRS["region"]), _pick(rng, DAYS)
    text = pattern.format(
        occupation=occupation,
        pronoun=pronoun,
        reflexive=REFLEXIVE[pronoun],
        region=region,
        day=day,
        mood=_pick(rng, MOODS),
    )
    return Sentence(
        text=text,
        occupation=occupation,
        pronoun=pronoun,
        region=region if "{region}" in pattern else None,
        day=day if "{day}" in pattern else None,
    )


def _pick(rng: random.Random, items: Sequence[Item]) -> Item:
    """One item, all alike; of `Random` only `random()` gives the same in all Python versions."""
    return items[int(rng.random() * len(items))]


def swapped(sentence: Sentence) -> Sentence:
    """The same sentence with he and she, himself and herself exchanged; twice gives it back."""
    words = [OTHER_PRONOUN.get(word, word) for word in sentence.text.split()]
    return dataclasses.replace(
        sentence, text=" ".join(words), pronoun=OTHER_PRONOUN[sentence.pronoun]
    )


def log_odds(sentences: Iterable[Sentence], pair: str) -> tuple[LogOdds, ...]:
    """The log-odds that a corpus really holds, counted, one entry per occupation in table order.

    `pair` is a key of PAIRS. Raises NotEnoughData when a word of the pair never goes with an
    occupation, and BadOption for an unknown pair.
    """
    first_word, second_word = _words(pair)
    counts = Counter((sentence.occupation, getattr(sentence, pair)) for sentence in sentences)
    entries = []
    for occupation in OCCUPATIONS:
        first, second = counts[occupation, first_word], counts[occupation, second_word]
        if not first or not second:
            raise NotEnoughData(
                f"{occupation}: {first} x {first_word} and {second} x {second_word} have no "
                "log-odds; draw more sentences."
            )
        entries.append(
            LogOdds(
                occupation=occupation,
                pair=pair,
                first=first,
                second=second,
                value=math.log(first / second),
                standard_error=math.sqrt(1 / first + 1 / second),
            )
        )
    return tuple(entries)


def contexts(occupation: str, pair: str) -> tuple[str, ...]:
    """Every text that can stand before a word of the pair when the sentence names the occupation.

    Both are keys of their tables; raises BadOption otherwise.
    """
    _known(occupation, pair)
    found: dict[str, None] = {}
    for template, subject in itertools.product(TEMPLATES, SUBJECTS):
        before, slot, _ = template.replace("{subject}", subject).partition(f"{{{pair}}}")
        for region, day in itertools.product(PAIRS["region"], PAIRS["day"]) if slot else ():
            found[before.format(occupation=occupation, region=region, day=day).rstrip()] = None
    return tuple(found)


def blanks(occupation: str, pair: str, blank: str) -> tuple[str, ...]:
    """Every sentence that names the occupation, with `blank` in the place of the pair's word.

    Where the pair is the pronoun, sentences with a reflexive are left out: himself gives he away.
    Both are keys of their tables; raises BadOption otherwise.
    """
    _known(occupation, pair)
    choices = (PAIRS["region"], PAIRS["day"], PAIRS["pronoun"])
    found: dict[str, None] = {}
    for template, subject in itertools.product(TEMPLATES, SUBJECTS):
        pattern = template.replace("{subject}", subject)
        told = pair == "pronoun" and "{reflexive}" in pattern
        if told or f"{{{pair}}}" not in pattern:
            continue
        for region, day, pronoun, mood in itertools.product(*choices, MOODS):
            filled = {"region": region, "day": day, "pronoun": pronoun, pair: blank}
            text = pattern.format(
                occupation=occupation, mood=mood, reflexive=REFLEXIVE[pronoun], **filled
            )
            found[text] = None
    return tuple(found)


def _known(occupation: str, pair: str) -> None:
    _words(pair)
    if occupation not in OCCUPATIONS:
        raise BadOption(f"The corpus knows no such occupation; known are {', '.join(OCCUPATIONS)}.")


def _words(pair: str) -> tuple[str, str]:
    if pair not in PAIRS:
        raise BadOption(f"There is no such pair of words; known are {', '.join(PAIRS)}.")
    return PAIRS[pair]


def vocabulary() -> tuple[str, ...]:
    """Every word a sentence can hold, in alphabetical order."""
    patterns = " ".join([*TEMPLATES, *SUBJECTS]).split()
    fixed = {word for word in patterns if not word.startswith("{")}
    slots = itertools.chain(OCCUPATIONS, *PAIRS.values(), MOODS, REFLEXIVE.values())
    return tuple(sorted(fixed.union(slots)))
