"""Labelled texts of one's own with the groups of whom they are by or about, for classifiers."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from inspector.fairness.gathering import gather
from inspector.fairness.items import BadStimuli, Labelled, Remark, Stimuli
from inspector.fairness.lined_yaml import Node
from inspector.fairness.own_rows import (
    flat_list,
    need_columns,
    note_unknown,
    read_own,
    without_repeats,
)
from inspector.fairness.rows import Row, Sieve
from inspector.results import show_plain

COLUMNS: Final = ("text", "label")
GROUP: Final = "group"
FEWEST: Final = 2  # groups of an attribute, below which nothing can differ


def read_labelled(path: Path, labels: Sequence[str] = ()) -> Stimuli[Labelled]:
    """Texts from CSV, TSV, JSON Lines or a YAML list, with `text`, `label` and groups.

    `group`, or columns whose names begin with `group_`, say which group each text belongs to
    (`group_gender`, `group_age`); all must be filled. Labels other than those given are left
    out. Raises BadStimuli where nothing can be used or an attribute has one group only.
    """
    sieve = Sieve()
    table = read_own(path, sieve, _flatten)
    need_columns(table, (COLUMNS,), sieve)
    attributes = tuple(name for name in table.columns if _is_group(name))
    if not attributes:
        wanted = f"{GROUP}, or columns that begin with {GROUP}_"
        raise _refused(table.file.name, f"no row has a group (wanted: {wanted})", table.rows, sieve)
    note_unknown(table, ("id", *COLUMNS, *attributes), sieve)
    made = sieve.sift(table.rows, lambda row: (_labelled(row, attributes, labels), row))
    keyed = [((one.text, one.label, *one.groups.items()), row) for one, row in made]
    kept = {row.line for _, row in without_repeats(keyed, sieve)}
    items = [one for one, row in made if row.line in kept]
    _note_two_labels(items, sieve)
    found = gather("labelled", str(path), [table.file], table.total, items, sieve)
    for attribute in attributes:
        groups = {item.groups[_short(attribute)] for item in found.items}
        if len(groups) < FEWEST:
            only = show_plain(groups.pop(), 40)
            why = f"{show_plain(attribute, 40)} has one group only, {only!r}: nothing can differ"
            kept_rows = [row for row in table.rows if row.line in kept]
            raise _refused(table.file.name, why, kept_rows, sieve)
    return found


def _refused(file: str, why: str, rows: Sequence[Row], sieve: Sieve) -> BadStimuli:
    whole = Remark(file=file, rows=tuple(row.line for row in rows), kind="groups", statement=why)
    return BadStimuli(f"{show_plain(file)}: {why}.", [*sieve.excluded, whole])


def _flatten(node: Node, file: str, sieve: Sieve) -> Iterator[Row]:
    yield from flat_list(node, file, sieve)


def _is_group(column: str) -> bool:
    return column == GROUP or (column.startswith(f"{GROUP}_") and column != f"{GROUP}_")


def _short(attribute: str) -> str:
    return attribute.removeprefix(f"{GROUP}_")


def _labelled(row: Row, attributes: Sequence[str], labels: Sequence[str]) -> Labelled:
    text = row.text("text")
    label = row.one_of("label", labels) if labels else row.text("label")
    return Labelled(
        id=row.optional("id", str(row.line)),
        file=row.file,
        rows=(row.line,),
        category=label,
        text=text,
        label=label,
        groups={_short(name): row.text(name) for name in attributes},
    )


def _note_two_labels(items: Sequence[Labelled], sieve: Sieve) -> None:
    labels = Counter(text for text, _ in {(item.text, item.label) for item in items})
    for text, count in labels.items():
        if count > 1:
            members = [item for item in items if item.text == text]
            rows = [row for item in members for row in item.rows]
            sieve.note(members[0].file, rows, "two labels", f"one text has {count} labels")
