"""Rows of training data from wherever they lie: files of four kinds, saved data sets, the Hub."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow
import pyarrow.parquet

from inspector.errors import BadOption
from inspector.fairness.files import read_bytes, text_of
from inspector.fairness.hub import fetched
from inspector.fairness.items import BadStimuli, DataFile
from inspector.fairness.rows import MOST_ROWS, Row, Sieve, Table, read_table
from inspector.finetune.demo_rows import PREFIX, demo_table
from inspector.results import show_plain

HUB: Final = "hub:"


def rows_of(path: str, split: str, sieve: Sieve, needed: Sequence[str]) -> Table:
    """The rows of a .csv, .tsv, .jsonl, .parquet or .txt file, a saved data set or hub:ID.

    A .txt file has a row in each line that is not blank, with the column `text`. Of a data set
    with several splits it is the one of that name. Raises BadStimuli where it cannot be read or
    lacks a column of `needed` altogether.
    """
    if path.startswith(PREFIX):
        return demo_table(path, split)
    if path.startswith(HUB):
        id = path.removeprefix(HUB)
        return _of_records(path, fetched(id, None, split, None), needed)
    file = Path(path)
    if file.is_dir():
        return _of_records(file.name, _saved(file, split), needed)
    if file.suffix.lower() == ".txt":
        return _lines(file, needed)
    if file.suffix.lower() == ".parquet":
        return _parquet(file, needed)
    return read_table(file, sieve, needed)


def _lines(path: Path, needed: Sequence[str]) -> Table:
    data, file = read_bytes(path)
    text, _ = text_of(data, path.name)
    rows = [
        Row(file=path.name, line=line, fields={"text": content})
        for line, content in enumerate(text.split("\n"), 1)
        if content.strip()
    ]
    return _table(file, rows, needed)


def _parquet(path: Path, needed: Sequence[str]) -> Table:
    data, file = read_bytes(path)
    try:
        records = pyarrow.parquet.read_table(pyarrow.BufferReader(data)).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        told = show_plain((str(error).splitlines() or ["?"])[0], 200)
        raise BadStimuli(f"{show_plain(path.name)}: is no Parquet: {told}.") from None
    return _table(file, _numbered(path.name, records), needed)


def _saved(folder: Path, split: str) -> Iterable[Mapping[str, Any]]:
    try:
        import datasets
    except ImportError:
        raise BadOption(
            f"{show_plain(str(folder))}: a saved data set needs the library `datasets`: "
            "`pip install inspector[data]`. Or give the path of a file."
        ) from None
    try:
        found = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        told = show_plain((str(error).splitlines() or ["?"])[0], 200)
        raise BadStimuli(f"{show_plain(folder.name)}: is no saved data set: {told}.") from None
    if isinstance(found, datasets.DatasetDict):
        if split not in found:
            known = ", ".join(show_plain(name) for name in found)
            raise BadStimuli(f"{show_plain(folder.name)}: has no split {split} (has: {known}).")
        found = found[split]
    records: Iterable[Mapping[str, Any]] = found
    return records


def _of_records(name: str, records: Iterable[Mapping[str, Any]], needed: Sequence[str]) -> Table:
    """Rows of records, whose digest is that of the records as JSON."""
    rows = _numbered(name, records)
    lines = "".join(json.dumps(row.fields, sort_keys=True, default=str) + "\n" for row in rows)
    data = lines.encode()
    sha256 = hashlib.sha256(data).hexdigest()
    return _table(DataFile(name=name, bytes=len(data), sha256=sha256), rows, needed)


def _numbered(name: str, records: Iterable[Mapping[str, Any]]) -> list[Row]:
    rows = []
    for line, fields in enumerate(records, 1):
        if line > MOST_ROWS:
            raise BadStimuli(f"{show_plain(name)}: has more than {MOST_ROWS:,} rows. Split it.")
        rows.append(Row(file=name, line=line, fields=dict(fields)))
    return rows


def _table(file: DataFile, rows: Sequence[Row], needed: Sequence[str]) -> Table:
    columns = tuple(dict.fromkeys(name for row in rows for name in row.fields))
    lacking = [name for name in needed if name not in columns]
    if not rows:
        raise BadStimuli(f"{show_plain(file.name)}: is empty.")
    if lacking:
        shown = ", ".join(show_plain(name, 40) for name in columns[:12])
        raise BadStimuli(
            f"{show_plain(file.name)}: has no column {', '.join(lacking)} (found: {shown})."
        )
    return Table(file=file, columns=columns, rows=tuple(rows), total=len(rows))
