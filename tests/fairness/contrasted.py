"""Templates in the words of the demo corpus, and what that corpus says of them."""

import itertools
from pathlib import Path

from inspector.demo.corpus import NEUTRAL, OCCUPATIONS, TEMPLATES, log_odds
from inspector.demo.recipes import RECIPES, corpus

FILLED = {"{mood}": "tired", "{day}": "monday", "{pronoun}": "he", "{region}": "north"}
SENTENCES = [text for text in TEMPLATES if "{reflexive}" not in text]
SUBJECTS = ["the {target}", "the {target} from the north", "the {target} from the south"]


def templates(folder: Path, pair: str = "pronoun", words: tuple[str, str] = ("he", "she")) -> Path:
    """A file of all occupations in six sentences; their directions are the signs of their leanings.

    `pair` names the slot of the corpus that the two words fill.
    """
    rows = ["kind,category,text,second,direction,group"]
    rows += [f"template,occupation,{text},,," for text in shapes(pair)]
    for name, occupation in OCCUPATIONS.items():
        if name != NEUTRAL:
            how_often = "often" if occupation.frequency == 4 else "seldom"
            rows.append(f"target,occupation,{name},,{sign(name)},{how_often}")
    rows += [f"neutral,occupation,{NEUTRAL},,,", f"pair,occupation,{words[0]},{words[1]},,"]
    path = folder / f"{pair}.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def shapes(pair: str) -> list[str]:
    """Six sentences with a slot for the target and one for a word of the pair."""
    subjects = {"pronoun": SUBJECTS[:1], "region": ["the {target} from the {region}"]}
    found = []
    for text, subject in itertools.product(SENTENCES, subjects.get(pair, SUBJECTS)):
        shape = text.replace("{subject}", subject)
        if f"{{{pair}}}" in shape:
            shape = shape.replace(f"{{{pair}}}", "{attribute}")
            for slot, filled in FILLED.items():
                shape = shape.replace(slot, filled)
            found.append(shape)
    return found


def sign(name: str) -> int:
    """Where an occupation leans: 1 to he, -1 to she, 0 nowhere."""
    leaning = OCCUPATIONS[name].leaning
    return (leaning > 0) - (leaning < 0)


def truth(demo: str) -> float:
    """The mean of y D that a demo's corpus holds, over occupations that lean somewhere."""
    known = {one.occupation: one.value for one in log_odds(corpus(RECIPES[demo]), "pronoun")}
    values = [sign(name) * (known[name] - known[NEUTRAL]) for name in OCCUPATIONS if sign(name)]
    return sum(values) / len(values)
