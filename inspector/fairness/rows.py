"""Rows of CSV, TSV and JSON Lines files: each is read or is named with what is wrong with it."""

import dataclasses
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from inspector.errors import InspectorError
from inspector.fairness.files import PLAIN, read_bytes, text_of, text_problem
from inspector.fairness.items import BadStimuli, DataFile, Remark
from inspector.results import show_plain

MOST_ROWS = 1_000_000
MOST_QUOTED = 100_000  # characters; behind them a quote counts as never closed
DELIMITERS: Final[Mapping[str, str]] = {".csv": ",", ".tsv": "\t"}
LINES: Final = (".jsonl", ".ndjson")
FEW = 12  # names listed in a message

T = TypeVar("T")


class Unfit(InspectorError):
    """A row that cannot become an item: `kind` is counted, the message says why."""

    def __init__(self, kind: str, statement: str) -> None:
        super().__init__(statement)
        self.kind = kind


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a file: the line on which it begins, and its fields as the file has them."""

    file: str
    line: int
    fields: Mapping[str, Any]

    def text(self, name: str) -> str:
        """The text of a field that must have some, with outer spaces cut; raises Unfit."""
        value = self.fields.get(name)
        if value is None:
            raise Unfit("missing", f"has no {show_plain(name)}")
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise Unfit("no text", f"{show_plain(name)} is no text but {type(value).__name__}")
        if not PLAIN.fullmatch(value) and (problem := text_problem(value)):
            raise Unfit(problem[0], f"{show_plain(name)} {problem[1]}")
        return value.strip()

    def optional(self, name: str, default: str) -> str:
        """The text of a field, or `default` where it is missing or empty; raises Unfit."""
        value = self.fields.get(name)
        return default if value is None or value == "" else self.text(name)

    def one_of(self, name: str, known: Collection[str]) -> str:
        """The text of a field that must be one of those known; raises Unfit."""
        value = self.text(name)
        if value not in known:
            raise Unfit(
                "unknown label",
                f"{show_plain(name)} is {show_plain(value, 40)!r}; known are {', '.join(known)}",
            )
        return value


class Sieve:
    """What was left out of a set and what is odd about it, as rows are gone through."""

    def __init__(self) -> None:
        self.excluded: list[Remark] = []
        self.notes: list[Remark] = []

    def out(self, file: str, rows: Iterable[int], kind: str, statement: str) -> None:
        """Leave rows out."""
        rows = tuple(rows)
        self.excluded.append(Remark(file=file, rows=rows, kind=kind, statement=statement))

    def note(self, file: str, rows: Iterable[int], kind: str, statement: str) -> None:
        """Say what is odd about rows that are kept."""
        self.notes.append(Remark(file=file, rows=tuple(rows), kind=kind, statement=statement))

    def sift(self, rows: Iterable[Row], make: Callable[[Row], T]) -> list[T]:
        """An item of each row that `make` can make one of; the others are left out."""
        items = []
        for row in rows:
            try:
                items.append(make(row))
            except Unfit as error:
                self.out(row.file, (row.line,), error.kind, str(error))
        return items


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of one file in its order; `total` counts also those that `sieve` already left out."""

    file: DataFile
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    total: int


def read_table(path: Path, sieve: Sieve, required: Sequence[str] = ()) -> Table:
    """Read a .csv, .tsv, .jsonl or .ndjson file; what cannot be read goes to the sieve.

    Columns of a JSON Lines file are all keys of all rows. Raises BadStimuli where the file has
    another suffix, cannot be read, or lacks one of the required columns altogether.
    """
    suffix = path.suffix.lower()
    if suffix not in (*DELIMITERS, *LINES):
        raise BadStimuli(
            f"{show_plain(path.name)}: unknown kind of file. Rows are read from "
            f"{', '.join((*DELIMITERS, *LINES))}."
        )
    data, file = read_bytes(path)
    text, marked = text_of(data, path.name)
    if marked:
        sieve.note(file.name, (), "byte order mark", "begins with a byte order mark; it was cut")
    read = _read_lines if suffix in LINES else _read_cells(DELIMITERS.get(suffix, ","))
    columns, rows, total = read(text, file.name, sieve)
    lacking = [name for name in required if name not in columns]
    if lacking:
        raise BadStimuli(_lacking(file.name, lacking, columns, suffix), sieve.excluded)
    return Table(file=file, columns=columns, rows=tuple(rows), total=total)


def _lacking(name: str, lacking: Sequence[str], columns: Sequence[str], suffix: str) -> str:
    shown = ", ".join(show_plain(c, 40) or "(no name)" for c in columns[:FEW])
    message = (
        f"{show_plain(name)}: row 1: has no column {', '.join(lacking)} (found: {shown or 'none'})."
    )
    other = [d for d in (";", "\t", ",") if len(columns) == 1 and d in columns[0]]
    if other and suffix in DELIMITERS:
        named = {";": "semicolons", "\t": "tabs", ",": "commas"}[other[0]]
        wanted = "commas" if suffix == ".csv" else "tabs"
        return f"{message} Its cells are parted by {named}; {suffix} wants {wanted}."
    return f"{message} Name the columns so in the first row."


Read = Callable[[str, str, Sieve], tuple[tuple[str, ...], list[Row], int]]


def _read_cells(delimiter: str) -> Read:
    def read(text: str, name: str, sieve: Sieve) -> tuple[tuple[str, ...], list[Row], int]:
        records = cells(text, delimiter)
        first = next(records, None)
        if first is None:
            raise BadStimuli(f"{show_plain(name)}: is empty. Its first row must name the columns.")
        columns = _header(name, first[1])
        rows, total = [], 0
        for line, found in records:
            total = _count(name, total)
            if isinstance(found, str):
                sieve.out(name, (line,), "quotes", found)
            elif len(found) != len(columns):
                statement = f"has {len(found)} cells, but there are {len(columns)} columns"
                sieve.out(name, (line,), "cells", statement)
            else:
                fields = dict(zip(columns, found, strict=True))
                rows.append(Row(file=name, line=line, fields=fields))
        return columns, rows, total

    return read


def _header(name: str, found: list[str] | str) -> tuple[str, ...]:
    if isinstance(found, str):
        raise BadStimuli(f"{show_plain(name)}: row 1: {found}. The first row names the columns.")
    columns = tuple(cell.strip() for cell in found)
    for place, column in enumerate(columns, 1):
        problem = text_problem(column) if column else None
        if problem:
            raise BadStimuli(f"{show_plain(name)}: row 1: the name of column {place} {problem[1]}.")
        if columns.count(column) > 1:
            shown = show_plain(column, 40)
            raise BadStimuli(f"{show_plain(name)}: row 1: names two columns {shown!r}.")
    return columns


def cells(text: str, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """The cells of each row and the line it begins on; a text says why a row has none.

    Quotes are those of RFC 4180, with tabs there are none. Behind a row whose quotes do not
    match reading goes on at the next line, so that one bad quote does not swallow the rest.
    Blank lines are no rows.
    """
    place, line = 0, 1
    while place < len(text):
        try:
            found: list[str] | str
            found, end = _record(text, place, delimiter)
        except Unfit as error:
            found, end = str(error), text.find("\n", place) + 1 or len(text)
        if text[place:end].strip(" \n"):
            yield line, found
        line += text.count("\n", place, end)
        place = end


def _record(text: str, place: int, delimiter: str) -> tuple[list[str], int]:
    found: list[str] = []
    stop = re.compile(f"[{delimiter}\n]|$(?![\\s\\S])")
    while True:
        if delimiter != "\t" and text.startswith('"', place):
            cell, place = _quoted(text, place)
            if place < len(text) and text[place] not in (delimiter, "\n"):
                raise Unfit("quotes", "text follows a closing quote")
        else:
            match = stop.search(text, place)
            end = match.start() if match else len(text)
            cell, place = text[place:end], end
        found.append(cell)
        if place >= len(text) or text[place] == "\n":
            return found, min(place + 1, len(text))
        place += 1


def _quoted(text: str, place: int) -> tuple[str, int]:
    parts, begin, last = [], place + 1, place + MOST_QUOTED
    while (end := text.find('"', begin, last)) >= 0:
        parts.append(text[begin:end])
        if not text.startswith('"', end + 1):
            return "".join(parts), end + 1
        parts.append('"')
        begin = end + 2
    raise Unfit("quotes", "a quote is opened that is not closed")


def _read_lines(text: str, name: str, sieve: Sieve) -> tuple[tuple[str, ...], list[Row], int]:
    rows, total = [], 0
    columns: dict[str, None] = {}
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        total = _count(name, total)
        try:
            fields = parse_json(content)
            if not isinstance(fields, dict):
                raise Unfit("no object", f"is no JSON object but {type(fields).__name__}")
        except Unfit as error:
            sieve.out(name, (line,), error.kind, str(error))
        else:
            columns |= dict.fromkeys(fields)
            rows.append(Row(file=name, line=line, fields=fields))
    if not total:
        raise BadStimuli(f"{show_plain(name)}: is empty. Each line must hold a JSON object.")
    return tuple(columns), rows, total


def parse_json(text: str) -> Any:
    """The value of a JSON text under the strict grammar; raises Unfit.

    No key may stand twice in an object, and NaN and Infinity are no numbers.
    """
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except RecursionError:
        raise Unfit("JSON", "is JSON of too many levels") from None
    except json.JSONDecodeError as error:
        raise Unfit("JSON", f"is no JSON: {error.msg} at character {error.pos + 1}") from None
    except ValueError:  # a whole number of thousands of digits
        raise Unfit("JSON", "is JSON with a number that is too long") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in fields if names.count(name) > 1)
        raise Unfit("JSON", f"has the key {show_plain(twice, 40)!r} twice")
    return fields


def _refuse(constant: str) -> None:
    raise Unfit("JSON", f"holds {constant}, which is no JSON")


def _count(name: str, total: int) -> int:
    if total == MOST_ROWS:
        raise BadStimuli(f"{show_plain(name)}: has more than {MOST_ROWS:,} rows. Split it.")
    return total + 1
