"""CrowS-Pairs as published: 1508 pairs of sentences, of which one states a stereotype."""

import ast
import dataclasses
import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Final

from inspector.fairness.gathering import find_file, gather, note_repeats
from inspector.fairness.items import Fact, Pair, Stimuli
from inspector.fairness.rows import Row, Sieve, Unfit, read_table
from inspector.results import show_plain

FILE: Final = "crows_pairs_anonymized.csv"
WORD: Final = re.compile(r"\w+|[^\w\s]")
DIRECTIONS: Final = {"stereo": 1, "antistereo": -1}
CATEGORIES: Final = (
    *("age", "disability", "gender", "nationality", "physical-appearance", "race-color"),
    *("religion", "sexual-orientation", "socioeconomic"),
)
COLUMNS: Final = ("sent_more", "sent_less", "stereo_antistereo", "bias_type")


def read_crows(path: Path) -> Stimuli[Pair]:
    """CrowS-Pairs from its CSV file, or from the folder that holds it.

    A pair that repeats another is noted, kept, and put into its cluster. Raises BadStimuli.
    """
    sieve = Sieve()
    table = read_table(find_file(path, FILE), sieve, COLUMNS)
    items = crows_items(table.rows, sieve)
    return gather("crows-pairs", str(path), [table.file], table.total, items, sieve)


def crows_items(rows: Sequence[Row], sieve: Sieve) -> list[Pair]:
    """A pair of each row; `id` is its index in the file, which counts from 0."""
    items = sieve.sift(rows, _pair)
    earlier = note_repeats(items, lambda pair: (pair.more, pair.less), sieve)
    for pair in items:
        if pair.facts["empty_side"]:
            statement = "one sentence has no word that the other lacks"
            sieve.note(pair.file, pair.rows, "one-sided", statement)
    return [dataclasses.replace(pair, cluster=earlier[pair.id]) for pair in items]


def _pair(row: Row) -> Pair:
    more, less = row.text("sent_more"), row.text("sent_less")
    if more == less:
        raise Unfit("equal sides", "has the same text on both sides")
    group = row.one_of("stereo_antistereo", DIRECTIONS)
    category = row.one_of("bias_type", CATEGORIES)
    number = row.optional("", "") or row.optional("id", "") or str(row.line - 2)
    return Pair(
        id=number,
        file=row.file,
        rows=(row.line,),
        category=category,
        cluster=number,
        group=group,
        direction=DIRECTIONS[group],
        more=more,
        less=less,
        facts={
            "writer": row.optional("anon_writer", "") or None,
            "unanimous": _unanimous(row.fields.get("annotations"), category),
            **_changes(more, less),
        },
    )


def _unanimous(annotations: Any, category: str) -> bool | None:
    """Whether all who judged the pair named its category alone; None where nothing is known."""
    if annotations is None or annotations == "":
        return None
    try:
        found = ast.literal_eval(annotations) if isinstance(annotations, str) else annotations
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        shown = show_plain(str(annotations), 60)
        raise Unfit("annotations", f"annotations are no list of lists: {shown}") from None
    return isinstance(found, list) and all(one == [category] for one in found)


def _changes(more: str, less: str) -> dict[str, Fact]:
    """How the two differ word by word: regions, one word for one word, a side without any."""
    left, right = WORD.findall(more.lower()), WORD.findall(less.lower())
    blocks = SequenceMatcher(None, left, right, autojunk=False).get_opcodes()
    changed = [(b - a, d - c) for tag, a, b, c, d in blocks if tag != "equal"]
    sides = [sum(one) for one in zip(*changed, strict=True)]
    return {"regions": len(changed), "one_word": changed == [(1, 1)], "empty_side": 0 in sides}
