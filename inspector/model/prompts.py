"""Prompts from a file: a text in each line, or text, target and versus as JSON lines or a table."""

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from inspector.errors import BadOption
from inspector.results import show_plain

FIELDS = ("text", "target", "versus")
MOST_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompt:
    """One prompt: `number` counts from 1 in the order of the file, a table's header left out."""

    number: int
    text: str
    target: str | None
    versus: str | None


def read_prompts(path: Path) -> tuple[Prompt, ...]:
    """The prompts of a file, whose suffix says its form.

    `.jsonl` has an object in each line, `.csv` and `.tsv` a header: text, and where wanted target
    and versus. Any other file has one text in each line, blank ones included. Raises BadOption,
    with the line, for what is no such file; at most MOST_BYTES are read.
    """
    named = f"--prompts {show_plain(str(path))}"
    suffix = path.suffix.lower()
    if suffix == ".json":
        raise BadOption(f"{named}: give JSON lines (.jsonl), an object in each line.")
    try:
        made = tuple(FORMS.get(suffix, _lines)(_text(path)))
    except OSError as error:
        raise BadOption(f"{named}: cannot be read: {error.strerror}.") from None
    except BadOption as error:
        raise BadOption(f"{named}: {error}") from None
    if not any(prompt.text.strip() for prompt in made):
        raise BadOption(f"{named}: holds no text.")
    return made


def _text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise BadOption(f"has more than {MOST_BYTES:,} bytes: split it.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadOption(
            f"line {line} is no UTF-8 text (byte {error.start} of the file). Save it as UTF-8."
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise BadOption(f"line {line} holds a NUL byte: this is no file of text.")
    return text


def _split(text: str) -> list[str]:
    """Lines as editors count them; other ends of line that Unicode knows may stand in a text."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def _lines(text: str) -> Iterator[Prompt]:
    for number, line in enumerate(_split(text), 1):
        yield Prompt(number=number, text=line, target=None, versus=None)


def _objects(text: str) -> Iterator[Prompt]:
    for number, line in enumerate(_split(text), 1):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadOption(f"line {number} is no JSON: {show_plain(str(error))}.") from None
        if not isinstance(found, dict):
            raise BadOption(f'line {number} is no JSON object such as {{"text": "..."}}.')
        yield _prompt(number, f"line {number}", found)


def _table(text: str, delimiter: str) -> Iterator[Prompt]:
    csv.field_size_limit(MOST_BYTES)  # what is too long for a model is told prompt by prompt
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
        for number, row in enumerate(reader, 1):
            where = f"line {reader.line_num}"
            if len(row) != len(header):
                raise BadOption(f"{where} has {len(row)} cells, the header {len(header)}.")
            cells = zip(header, row, strict=True)
            known = {name: cell for name, cell in cells if cell or name == "text"}
            yield _prompt(number, where, known)
    except csv.Error as error:
        raise BadOption(f"line {reader.line_num}: {show_plain(str(error))}.") from None


def _prompt(number: int, where: str, found: Mapping[str, Any]) -> Prompt:
    for name, value in found.items():
        if name not in FIELDS:
            known = ", ".join(FIELDS)
            raise BadOption(f"{where} has {show_plain(name)!r}; known are {known}.")
        if not isinstance(value, str) and (name == "text" or value is not None):
            raise BadOption(f"{where}: {name} is no text.")
    if "text" not in found:
        raise BadOption(f"{where} has no text (known: {', '.join(FIELDS)}).")
    return Prompt(
        number=number,
        text=found["text"],
        target=found.get("target"),
        versus=found.get("versus"),
    )


FORMS: dict[str, Callable[[str], Iterator[Prompt]]] = {
    ".jsonl": _objects,
    ".csv": lambda text: _table(text, ","),
    ".tsv": lambda text: _table(text, "\t"),
}
