"""Templates and pairs in the words of the demo corpus, where the true answer can be counted."""

import hashlib
import itertools
from collections.abc import Sequence
from typing import Final

from inspector.demo.corpus import MOODS, NEUTRAL, OCCUPATIONS, PAIRS, TEMPLATES
from inspector.fairness.about import ABOUT
from inspector.fairness.items import (
    DataFile,
    Item,
    Pair,
    Stimuli,
    T,
    Target,
    Template,
    WordPair,
)
from inspector.fairness.sets.own_templates import contrasts

TARGETS: Final = {
    name: occupation.leaning
    for name, occupation in OCCUPATIONS.items()
    if abs(occupation.leaning) == 1
}
"""Occupations of the full leaning: the mean of y D then is the planted strength itself."""

FILE: Final = "the demo corpus"
FEW_MOODS: Final = MOODS[:2]


def demo_templates() -> Stimuli[Item]:
    """Every pair of words of the corpus as a category: the planted one and two that are not.

    Directions are those of the planted leaning in all categories, so that region and day ask
    whether a probe finds what was never there. Sentences with a reflexive are left out: himself
    gives he away.
    """
    items: list[Item] = []
    for pair, words in PAIRS.items():
        items += [_template(pair, text) for text in _texts(pair)]
        items += [_target(pair, name, leaning) for name, leaning in TARGETS.items()]
        items.append(_words(pair, *words))
    return _stimuli("templates", items, [str(item) for item in items])


def demo_pairs() -> Stimuli[Pair]:
    """The same contrasts as pairs of sentences: a template each, that differ in one word."""
    pairs = [
        Pair(
            id=contrast.id,
            file=FILE,
            rows=(),
            category=contrast.category,
            cluster=contrast.group,
            group="",
            direction=1,
            more=contrast.before + word + contrast.after,
            less=contrast.before + other + contrast.after,
        )
        for contrast in contrasts(demo_templates())
        for word, other in [contrast.words if contrast.direction > 0 else contrast.words[::-1]]
    ]
    return _stimuli("pairs", pairs, [f"{pair.more}\t{pair.less}" for pair in pairs])


def _template(pair: str, text: str) -> Template:
    return Template(
        id=f"{pair}: {text}",
        file=FILE,
        rows=(),
        category=pair,
        text=text,
        slots=("target", "attribute"),
    )


def _target(pair: str, name: str, leaning: float) -> Target:
    return Target(
        id=f"{pair}: {name}",
        file=FILE,
        rows=(),
        category=pair,
        text=f"the {name}",
        group=name,
        direction=leaning,
        neutral=f"the {NEUTRAL}",
        control=False,
    )


def _words(pair: str, first: str, second: str) -> WordPair:
    return WordPair(
        id=pair, file=FILE, rows=(), category=pair, first=first, second=second, control=False
    )


def _texts(pair: str) -> list[str]:
    """Sentences of the corpus with slots for who is spoken of and for a word of the pair.

    The other words of each are the first that can stand there: about as many sentences for each
    pair as the corpus has forms, enough for the guard of language.
    """
    subjects = ("{target} from the {region}",) if pair == "region" else ("{target}",)
    found: dict[str, None] = {}
    for template, mood, subject in itertools.product(TEMPLATES, FEW_MOODS, subjects):
        pattern = template.replace("{subject}", subject)
        if "{reflexive}" in template or f"{{{pair}}}" not in pattern:
            continue
        pronouns = PAIRS["pronoun"][len(found) % 2 :]
        filled = {"region": "", "day": "monday", "pronoun": pronouns[0], pair: "{attribute}"}
        found[pattern.format(target="{target}", mood=mood, **filled)] = None
    return list(found)


def _stimuli(name: str, items: Sequence[T], lines: Sequence[str]) -> Stimuli[T]:
    data = "\n".join(lines).encode()
    file = DataFile(name=FILE, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    return Stimuli(
        name=name,
        about=ABOUT[name],
        origin="package",
        files=(file,),
        rows=len(items),
        items=tuple(items),
        excluded=(),
        notes=(),
    )
