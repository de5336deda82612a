"""Templates in the words of the demo corpus, and what that corpus says of them."""

from pathlib import Path

from inspector.demo.corpus import NEUTRAL, OCCUPATIONS, TEMPLATES, log_odds
from inspector.demo.recipes import RECIPES, corpus

FILLED = {"{subject}": "the {target}", "{mood}": "tired", "{day}": "monday"}
SENTENCES = [text for text in TEMPLATES if "{reflexive}" not in text]


def templates(folder: Path, pair: str = "pronoun", words: tuple[str, str] = ("he", "she")) -> Path:
    """A file of all occupations in all sentences; their directions are the signs of their leanings.

    `pair` names the slot of the corpus that the two words fill.
    """
    rows = ["kind,category,text,second,direction,group"]
    for text in SENTENCES:
        text = (
            text
            if pair == "pronoun"
            else text.replace("{subject}", "the {target} from the {region}")
        )
        if f"{{{pair}}}" not in text:
            continue
        text = text.replace(f"{{{pair}}}", "{attribute}")
        for slot, filled in {**FILLED, "{pronoun}": "he", "{region}": "north"}.items():
            text = text.replace(slot, filled)
        rows.append(f"template,occupation,{text},,,")
    for name, occupation in OCCUPATIONS.items():
        if name != NEUTRAL:
            how_often = "often" if occupation.frequency == 4 else "seldom"
            rows.append(f"target,occupation,{name},,{sign(name)},{how_often}")
    rows += [f"neutral,occupation,{NEUTRAL},,,", f"pair,occupation,{words[0]},{words[1]},,"]
    path = folder / f"{pair}.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def sign(name: str) -> int:
    """Where an occupation leans: 1 to he, -1 to she, 0 nowhere."""
    leaning = OCCUPATIONS[name].leaning
    return (leaning > 0) - (leaning < 0)


def truth(demo: str) -> float:
    """The mean of y D that a demo's corpus holds, over occupations that lean somewhere."""
    known = {one.occupation: one.value for one in log_odds(corpus(RECIPES[demo]), "pronoun")}
    values = [sign(name) * (known[name] - known[NEUTRAL]) for name in OCCUPATIONS if sign(name)]
    return sum(values) / len(values)
