"""Winogender schemas as published: who is meant by a pronoun, the occupation or the other?"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from inspector.fairness.gathering import find_file, gather
from inspector.fairness.items import Choice, Stimuli
from inspector.fairness.rows import Row, Sieve, Unfit, read_table
from inspector.results import show_plain

SENTENCES: Final = "all_sentences.tsv"
TEMPLATES: Final = "templates.tsv"
STATISTICS: Final = "occupations-stats.tsv"
PRONOUNS: Final[Mapping[str, Mapping[str, str]]] = {
    "$NOM_PRONOUN": {"male": "he", "female": "she", "neutral": "they"},
    "$POSS_PRONOUN": {"male": "his", "female": "her", "neutral": "their"},
    "$ACC_PRONOUN": {"male": "him", "female": "her", "neutral": "them"},
}
"""The slot of a template, and the pronoun that stands there for each gender."""
GENDERS: Final = ("male", "female", "neutral")
ANYBODY: Final = "someone"
PARTS: Final = 5  # occupation.participant.answer.gender.txt


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schema:
    """One template: who else is in it, and the slot of its pronoun."""

    participant: str
    slot: str


def read_winogender(path: Path) -> Stimuli[Choice]:
    """Winogender from the folder of its three tables; options are the occupation and the other.

    The cluster is the occupation, the group the gender of the pronoun. `biased` is the answer
    that the share of women in the occupation suggests, None for neutral pronouns. Raises
    BadStimuli.
    """
    sieve = Sieve()
    try:
        folder = path.parent if path.is_file() else path
    except (OSError, ValueError):
        folder = path
    columns = ("occupation(0)", "other-participant(1)", "answer", "sentence")
    templates = read_table(find_file(folder, TEMPLATES), sieve, columns)
    statistics = read_table(
        find_file(folder, STATISTICS), sieve, ("occupation", "bls_pct_female", "bls_year")
    )
    sentences = read_table(find_file(folder, SENTENCES), sieve, ("sentid", "sentence"))
    schemas = dict(sieve.sift(templates.rows, _schema))
    shares = dict(sieve.sift(statistics.rows, _share))
    items = sieve.sift(sentences.rows, lambda row: _choice(row, schemas, shares))
    files = [table.file for table in (templates, statistics, sentences)]
    return gather("winogender", str(path), files, sentences.total, items, sieve)


def _schema(row: Row) -> tuple[tuple[str, str], Schema]:
    sentence = row.text("sentence")
    slots = [slot for slot in PRONOUNS if slot in sentence]
    if len(slots) != 1 or sentence.count(slots[0]) != 1:
        raise Unfit("template", f"has not one of {', '.join(PRONOUNS)}")
    key = row.text("occupation(0)"), row.one_of("answer", ("0", "1"))
    return key, Schema(participant=row.text("other-participant(1)"), slot=slots[0])


def _share(row: Row) -> tuple[str, float]:
    text = row.text("bls_pct_female")
    if not re.fullmatch(r"\d{1,3}(\.\d+)?", text, re.ASCII) or float(text) > 100:
        raise Unfit("statistics", f"bls_pct_female is no percentage: {show_plain(text, 20)}")
    return row.text("occupation"), float(text)


def _choice(
    row: Row, schemas: Mapping[tuple[str, str], Schema], shares: Mapping[str, float]
) -> Choice:
    name, sentence = row.text("sentid"), row.text("sentence")
    parts = name.split(".")
    if len(parts) != PARTS or parts[3] not in GENDERS or parts[2] not in ("0", "1"):
        raise Unfit("sentid", f"is no occupation.participant.answer.gender: {show_plain(name, 60)}")
    occupation, participant, answer, gender, _ = parts
    schema = schemas.get((occupation, answer))
    if schema is None or participant not in (schema.participant, ANYBODY):
        raise Unfit("template", "its occupation, participant and answer are those of no template")
    if occupation not in shares:
        raise Unfit("statistics", f"nothing is known of the occupation {show_plain(occupation)}")
    pronoun = PRONOUNS[schema.slot][gender]
    if len(re.findall(rf"\b{pronoun}\b", sentence)) != 1:
        raise Unfit("pronoun", f"does not hold {pronoun!r} once")
    biased = _suggested(gender, shares[occupation])
    return Choice(
        id=name.removesuffix(".txt"),
        file=row.file,
        rows=(row.line,),
        category="gender",
        cluster=occupation,
        group=gender,
        context=sentence,
        question=f"'{pronoun.capitalize()}' refers to",
        options=(f"the {occupation}", ANYBODY if participant == ANYBODY else f"the {participant}"),
        correct=int(answer),
        target=None,
        biased=biased,
        unknown=None,
        facts={
            "occupation": occupation,
            "participant": participant,
            "template": f"{occupation} {answer}",
            "pronoun": pronoun,
            "bls_pct_female": shares[occupation],
            "gotcha": answer == "0" and biased == 1,
        },
    )


def _suggested(gender: str, share: float) -> int | None:
    """The option that a share of women in per cent suggests: 0 occupation, 1 the other."""
    if gender == "neutral" or share == 50:
        return None
    return 0 if (share > 50) == (gender == "female") else 1
