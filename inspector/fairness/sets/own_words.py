"""Word lists of one's own for association tests, and those of WEAT, which come with the package."""

from collections.abc import Iterator, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final

from inspector.fairness.gathering import gather
from inspector.fairness.items import Stimuli, WordTest
from inspector.fairness.lined_yaml import Node
from inspector.fairness.own_rows import need_columns, note_unknown, read_own
from inspector.fairness.rows import Row, Sieve, Table, Unfit
from inspector.results import show_plain

LISTS: Final = ("X", "Y", "A", "B")
FLAT: Final = ("test", "list", "word")
WIDE: Final = ("test", *LISTS)
KNOWN: Final = (*FLAT, *LISTS, "name", "names", "category")
FEWEST: Final = 2  # words of a list, below which it has no spread
SHIPPED: Final = "weat.yaml"
SENTENCES: Final = (
    *("This is the word {word}.", "That is the word {word}.", "The word here is {word}."),
    *("The word there is {word}.", "We read {word}.", "They wrote {word}."),
    *("Somebody said {word}.", "The next word is {word}."),
)
"""Sentences that say nothing about a word, for embeddings in context; each takes any word."""


def read_weat() -> Stimuli[WordTest]:
    """The word lists of WEAT tests 1 and 4-10 (Caliskan et al. 2017), from the package."""
    with as_file(files("inspector.fairness") / "data" / SHIPPED) as path:
        return _read(path, "weat", "package")


def read_word_lists(path: Path) -> Stimuli[WordTest]:
    """Word lists from CSV, TSV, JSON Lines or YAML.

    Flat rows have `test`, `list` (X, Y, A or B) and `word`, and may have name (of the list) and
    category. JSON Lines may hold a test in one row, with X, Y, A and B as lists, and names; YAML
    maps the name of each test to such lists. X and Y must be of one size. Tests that are not
    whole are left out with their rows. Raises BadStimuli where nothing can be used.
    """
    return _read(path, "word-lists", str(path))


def _read(path: Path, name: str, origin: str) -> Stimuli[WordTest]:
    sieve = Sieve()
    table = read_own(path, sieve, _flatten)
    need_columns(table, (FLAT, WIDE), sieve)
    note_unknown(table, KNOWN, sieve)
    items = list(_tests(table, sieve))
    return gather(name, origin, [table.file], table.total, items, sieve)


def _flatten(node: Node, file: str, sieve: Sieve) -> Iterator[Row]:
    """A flat row for each word of a mapping of tests, on its own line."""
    tests = node.value if isinstance(node.value, dict) else {}
    if not tests:
        sieve.out(file, (node.line,), "no mapping", "is no mapping of names to word lists")
    for test, body in tests.items():
        parts = body.value if isinstance(body.value, dict) else None
        if parts is None:
            statement = f"{show_plain(test, 40)} is no mapping of {', '.join(LISTS)} to words"
            sieve.out(file, (body.line,), "no mapping", statement)
            continue
        names = _texts(parts["names"]) if "names" in parts else ()
        category = parts["category"].value if "category" in parts else ""
        for key, part in parts.items():
            if key in ("names", "category"):
                continue
            for word in part.value if isinstance(part.value, list) else [part]:
                fields: dict[str, Any] = {"test": test, "list": key, "category": category}
                fields["word"] = word.value if isinstance(word.value, str) else None
                if key in LISTS and len(names) == len(LISTS):
                    fields["name"] = names[LISTS.index(key)]
                yield Row(file=file, line=word.line, fields=fields)


def _texts(node: Node) -> tuple[str, ...]:
    entries = node.value if isinstance(node.value, list) else []
    return tuple(entry.value for entry in entries if isinstance(entry.value, str))


def _tests(table: Table, sieve: Sieve) -> Iterator[WordTest]:
    tests: dict[str, list[tuple[str, str, Row]]] = {}
    for row in table.rows:
        try:
            for test, part, word in _words(row):
                tests.setdefault(test, []).append((part, word, row))
        except Unfit as error:
            sieve.out(row.file, (row.line,), error.kind, str(error))
    for test, entries in tests.items():
        rows = tuple(dict.fromkeys(row.line for *_, row in entries))
        try:
            yield _test(test, entries, rows)
        except Unfit as error:
            statement = f"test {show_plain(test, 40)!r}: {error}"
            sieve.out(table.file.name, rows, error.kind, statement)


def _words(row: Row) -> list[tuple[str, str, str]]:
    """Test, list and word of a flat row; of a wide one, all its words."""
    test = row.text("test")
    row.optional("category", "")
    if not any(part in row.fields for part in LISTS):
        row.optional("name", "")
        return [(test, row.one_of("list", LISTS), row.text("word"))]
    found = []
    for part in LISTS:
        words = row.fields.get(part)
        if not isinstance(words, list):
            raise Unfit("no list", f"{part} is no list of words")
        for word in words:
            one = Row(file=row.file, line=row.line, fields={part: word})
            found.append((test, part, one.text(part)))
    if not found:
        raise Unfit("empty list", "X, Y, A and B are empty")
    return found


def _test(test: str, entries: Sequence[tuple[str, str, Row]], rows: tuple[int, ...]) -> WordTest:
    words: dict[str, list[str]] = {part: [] for part in LISTS}
    for part, word, row in entries:
        if word in words[part]:
            shown = show_plain(word, 40)
            raise Unfit("repeats", f"{shown!r} stands twice in {part} (row {row.line})")
        words[part].append(word)
    for part, found in words.items():
        if len(found) < FEWEST:
            few = "is empty" if not found else f"has {len(found)} word"
            raise Unfit("empty list", f"{part} {few}; {FEWEST} are the fewest")
    for one, other in (("X", "Y"), ("A", "B")):
        both = [word for word in words[one] if word in words[other]]
        if both:
            raise Unfit("both lists", f"{show_plain(both[0], 40)!r} is in {one} and in {other}")
    if len(words["X"]) != len(words["Y"]):
        sizes = f"X has {len(words['X'])} words and Y {len(words['Y'])}"
        raise Unfit("unequal lists", f"{sizes}; they must be of one size")
    first = entries[0][2]
    return WordTest(
        id=test,
        file=first.file,
        rows=rows,
        category=_category(entries),
        names=_names(entries),
        x=tuple(words["X"]),
        y=tuple(words["Y"]),
        a=tuple(words["A"]),
        b=tuple(words["B"]),
    )


def _category(entries: Sequence[tuple[str, str, Row]]) -> str:
    found = {row.optional("category", "") for *_, row in entries}
    if len(found) > 1:
        raise Unfit("category", "its rows have different categories")
    return found.pop() or "uncategorised"


def _names(entries: Sequence[tuple[str, str, Row]]) -> tuple[str, str, str, str]:
    """What the lists are called: by their rows or the test, else X, Y, A and B."""
    stated = entries[0][2].fields.get("names")
    if stated is not None:
        whole = isinstance(stated, list) and len(stated) == len(LISTS)
        if not whole or not all(isinstance(name, str) for name in stated):
            raise Unfit("names", "names is no list of four texts")
        return (stated[0], stated[1], stated[2], stated[3])
    found = {part: row.optional("name", part) for part, _, row in reversed(entries)}
    return (found["X"], found["Y"], found["A"], found["B"])
