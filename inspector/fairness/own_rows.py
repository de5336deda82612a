"""Rows of one's own material: CSV, TSV and JSON Lines as they are, YAML laid out flat."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from inspector.fairness.files import read_bytes, text_of
from inspector.fairness.items import BadStimuli
from inspector.fairness.lined_yaml import Node, parse_yaml
from inspector.fairness.rows import DELIMITERS, Row, Sieve, Table, Unfit, read_table
from inspector.results import show_plain

YAML: Final = (".yaml", ".yml")

Flatten = Callable[[Node, str, Sieve], Iterator[Row]]
Key = TypeVar("Key")


def read_own(path: Path, sieve: Sieve, flatten: Flatten) -> Table:
    """The rows of a file in any of the formats; `flatten` lays out a YAML document.

    Raises BadStimuli where the file as a whole cannot be read.
    """
    if path.suffix.lower() not in YAML:
        return read_table(path, sieve)
    data, file = read_bytes(path)
    text, _ = text_of(data, file.name)
    before = len(sieve.excluded)
    rows = tuple(flatten(parse_yaml(text, file.name), file.name, sieve))
    total = len(rows) + sum(max(1, len(remark.rows)) for remark in sieve.excluded[before:])
    columns = tuple(dict.fromkeys(name for row in rows for name in row.fields))
    return Table(file=file, columns=columns, rows=rows, total=total)


def need_columns(table: Table, choices: Sequence[Sequence[str]], sieve: Sieve) -> None:
    """Raise BadStimuli unless a table with a header has all columns of one of the choices.

    Rows of the other formats name their fields themselves, so each is judged alone.
    """
    headed = Path(table.file.name).suffix.lower() in DELIMITERS
    if headed and not any(set(choice) <= set(table.columns) for choice in choices):
        wanted = ", or ".join(", ".join(choice) for choice in choices)
        found = ", ".join(show_plain(name, 40) or "(no name)" for name in table.columns[:12])
        raise BadStimuli(
            f"{show_plain(table.file.name)}: row 1: wrong columns (found: {found or 'none'}). "
            f"Wanted: {wanted}.",
            sieve.excluded,
        )


def note_unknown(table: Table, known: Sequence[str], sieve: Sieve) -> None:
    """Note columns that mean nothing to the reader, so that a slip in a name is seen."""
    for name in table.columns:
        if name not in known:
            shown = show_plain(name, 40)
            statement = f"the column {shown!r} means nothing here; known are {', '.join(known)}"
            sieve.note(table.file.name, (), "unknown column", statement)


def flat(node: Node, file: str, extra: Mapping[str, Any] | None = None) -> Row:
    """A mapping of texts as a row; raises Unfit for anything else."""
    if not isinstance(node.value, dict):
        raise Unfit("no mapping", "is no mapping of names to texts")
    for name, value in node.value.items():
        if not isinstance(value.value, str):
            raise Unfit("no text", f"{show_plain(name, 40)} is no text")
    fields = {name: value.value for name, value in node.value.items()}
    return Row(file=file, line=node.line, fields={**(extra or {}), **fields})


def flat_list(
    node: Node, file: str, sieve: Sieve, extra: Mapping[str, Any] | None = None
) -> Iterator[Row]:
    """A row for each mapping of a list; entries that are none go to the sieve."""
    if not isinstance(node.value, list):
        sieve.out(file, (node.line,), "no list", "is no list")
        return
    for entry in node.value:
        try:
            yield flat(entry, file, extra)
        except Unfit as error:
            sieve.out(file, (entry.line,), error.kind, str(error))


def number(row: Row, name: str, low: float, high: float) -> float:
    """A number of a field within a range; raises Unfit."""
    value = row.fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        text = row.text(name)
        try:
            value = float(text) if text.isascii() and "_" not in text else math.nan
        except ValueError:
            value = math.nan
    if not low <= value <= high:  # false for NaN too
        shown = show_plain(str(row.fields[name]), 40)
        raise Unfit("unknown label", f"{name} is {shown!r}, no number from {low:g} to {high:g}")
    return float(value)


def without_repeats(rows: Sequence[tuple[Key, Row]], sieve: Sieve) -> Iterator[tuple[Key, Row]]:
    """Rows whose key no earlier row has; the others go to the sieve with the row they repeat."""
    first: dict[Key, Row] = {}
    for key, row in rows:
        earlier = first.setdefault(key, row)
        if earlier is row:
            yield key, row
        else:
            sieve.out(row.file, (row.line,), "repeats", f"repeats row {earlier.line}")
