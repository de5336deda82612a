"""Pairs of texts of one's own: a pair a row, or two rows that share an id."""

from collections.abc import Iterator, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from inspector.fairness.gathering import gather
from inspector.fairness.items import Pair, Stimuli
from inspector.fairness.lined_yaml import Node
from inspector.fairness.own_rows import (
    flat_list,
    need_columns,
    note_unknown,
    read_own,
    without_repeats,
)
from inspector.fairness.rows import Row, Sieve, Unfit
from inspector.results import show_plain

WIDE: Final = ("more", "less")
LONG: Final = ("pair", "label", "text")
SIDES: Final = ("more", "less")
SHARED: Final = ("category", "cluster", "group", "direction")
KNOWN: Final = (*WIDE, *LONG, "id", *SHARED)
DIRECTIONS: Final = {
    **{"stereo": 1, "antistereo": -1, "control": 0},
    **{"1": 1, "+1": 1, "-1": -1, "0": 0},
}
NO_CATEGORY: Final = "uncategorised"
GENDER_WORDS: Final = "gender-words.yaml"


def read_pairs(path: Path) -> Stimuli[Pair]:
    """Pairs from CSV, TSV, JSON Lines or a YAML list.

    Wide rows have `more` and `less` (the text that the stereotype favours, and the other); long
    rows have `pair`, `label` (more or less) and `text`, two rows for each pair. Both may have
    category, cluster, group and direction (stereo, antistereo, control), wide rows an id. Bad
    rows are left out with their reason. Raises BadStimuli where nothing can be used.
    """
    return _read(path, "pairs", str(path))


def read_gender_words() -> Stimuli[Pair]:
    """Pairs of words that differ in the gender they name, from the package."""
    with as_file(files("inspector.fairness") / "data" / GENDER_WORDS) as path:
        return _read(path, "gender-words", "package")


def _read(path: Path, name: str, origin: str) -> Stimuli[Pair]:
    sieve = Sieve()
    table = read_own(path, sieve, _flatten)
    need_columns(table, (WIDE, LONG), sieve)
    note_unknown(table, KNOWN, sieve)
    items = pair_items(table.rows, sieve)
    return gather(name, origin, [table.file], table.total, items, sieve)


def pair_items(rows: Sequence[Row], sieve: Sieve) -> list[Pair]:
    """A pair of each wide row, and of each two long rows that share an id, in file order."""
    wide = [row for row in rows if not _is_long(row)]
    long = [row for row in rows if _is_long(row)]
    return sorted([*_wide(wide, sieve), *_long(long, sieve)], key=lambda pair: pair.rows)


def _flatten(node: Node, file: str, sieve: Sieve) -> Iterator[Row]:
    inner = node.value.get("pairs") if isinstance(node.value, dict) else None
    yield from flat_list(inner or node, file, sieve)


def _is_long(row: Row) -> bool:
    return "label" in row.fields and not row.fields.get("more")


def _wide(rows: Sequence[Row], sieve: Sieve) -> list[Pair]:
    pairs = sieve.sift(rows, lambda row: (_pair(row.optional("id", str(row.line)), row), row))
    once = without_repeats([((p.more, p.less), row) for p, row in pairs], sieve)
    kept = {row.line for _, row in once}
    return [pair for pair, row in pairs if row.line in kept]


def _pair(id: str, row: Row) -> Pair:
    more, less = row.text("more"), row.text("less")
    if more == less:
        raise Unfit("equal sides", "has the same text on both sides")
    return Pair(
        id=id,
        file=row.file,
        rows=(row.line,),
        category=row.optional("category", NO_CATEGORY),
        cluster=row.optional("cluster", id),
        group=row.optional("group", "all"),
        direction=_direction(row),
        more=more,
        less=less,
    )


def _direction(row: Row) -> int:
    value = row.optional("direction", "stereo")
    if value not in DIRECTIONS:
        known = ", ".join(DIRECTIONS)
        raise Unfit("unknown label", f"direction is {show_plain(value, 40)!r}; known are {known}")
    return DIRECTIONS[value]


def _long(rows: Sequence[Row], sieve: Sieve) -> Iterator[Pair]:
    groups: dict[str, list[Row]] = {}
    for name, row in sieve.sift(rows, lambda row: (_side(row), row)):
        groups.setdefault(name, []).append(row)
    for name, members in groups.items():
        lines = tuple(row.line for row in members)
        try:
            yield _together(name, members, lines)
        except Unfit as error:
            sieve.out(members[0].file, lines, error.kind, str(error))


def _side(row: Row) -> str:
    row.one_of("label", SIDES)
    row.text("text")
    return row.text("pair")


def _together(name: str, members: Sequence[Row], lines: tuple[int, ...]) -> Pair:
    shown = show_plain(name, 40)
    if len(members) != len(SIDES):
        raise Unfit("no pair", f"{len(members)} rows have the pair {shown!r}, not two")
    texts = {row.text("label"): row.text("text") for row in members}
    if len(texts) != len(SIDES):
        raise Unfit("no pair", f"both rows of the pair {shown!r} have the label {[*texts][0]}")
    for field in SHARED:
        if members[0].optional(field, "") != members[1].optional(field, ""):
            raise Unfit("no pair", f"the two rows of the pair {shown!r} differ in {field}")
    row = members[0]
    whole = Row(file=row.file, line=row.line, fields={**row.fields, **texts})
    pair = _pair(name, whole)
    return Pair(**{**vars(pair), "rows": lines})
