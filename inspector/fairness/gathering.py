"""From rows to a set: what is common to all readers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from inspector.fairness.about import ABOUT
from inspector.fairness.items import BadStimuli, DataFile, Item, Stimuli
from inspector.fairness.rows import Sieve
from inspector.results import show_plain

SHOWN = 5  # reasons listed in one message

T = TypeVar("T", bound=Item)


def gather(
    name: str,
    origin: str,
    files: Sequence[DataFile],
    rows: int,
    items: Sequence[T],
    sieve: Sieve,
) -> Stimuli[T]:
    """A set of the items that rows gave; raises BadStimuli where there are none.

    An id that an earlier item has is no id: such an item is left out and named.
    """
    kept = _once(items, sieve)
    if not kept:
        raise BadStimuli(_nothing(files, rows, sieve), sieve.excluded)
    return Stimuli(
        name=name,
        about=ABOUT[name],
        origin=origin,
        files=tuple(files),
        rows=rows,
        items=tuple(kept),
        excluded=tuple(sieve.excluded),
        notes=tuple(sieve.notes),
    )


def _once(items: Sequence[T], sieve: Sieve) -> list[T]:
    seen: dict[str, Item] = {}
    for item in items:
        first = seen.setdefault(item.id, item)
        if first is not item:
            statement = f"has the id {show_plain(item.id, 60)!r} of row {first.rows[0]}"
            sieve.out(item.file, item.rows, "repeated id", statement)
    return [item for item in items if seen[item.id] is item]


def _nothing(files: Sequence[DataFile], rows: int, sieve: Sieve) -> str:
    named = ", ".join(show_plain(file.name) for file in files)
    if not rows:
        return f"{named}: holds no rows."
    first = "; ".join(str(remark) for remark in sieve.excluded[:SHOWN])
    more = len(sieve.excluded) - SHOWN
    rest = f"; and {more} more" if more > 0 else ""
    return f"{named}: none of {rows} rows can be used. {first}{rest}."


def note_repeats(
    items: Sequence[T], texts: Callable[[T], tuple[str, ...]], sieve: Sieve
) -> dict[str, str]:
    """Note items whose texts are those of an earlier one; gives the earlier id for each id.

    They are kept, since published numbers count them.
    """
    first: dict[tuple[str, ...], T] = {}
    earlier = {}
    for item in items:
        one = first.setdefault(texts(item), item)
        earlier[item.id] = one.id
        if one is not item:
            rows = (*one.rows, *item.rows)
            statement = f"the texts of {item.id} are those of {one.id}; both are kept"
            sieve.note(item.file, rows, "repeated texts", statement)
    return earlier


def find_file(path: Path, *names: str) -> Path:
    """The path itself, or the file of one of these names in it; raises BadStimuli with the names.

    Nothing is ever fetched: where data is missing the message says what is expected where.
    """
    try:
        if path.is_file():
            return path
        for name in names:
            if (path / name).is_file():
                return path / name
    except (OSError, ValueError):  # a path that is too long, or with a NUL
        pass
    shown = show_plain(str(path), 300)
    raise BadStimuli(f"{shown}: there is no {' or '.join(names)}. Give the path of the data.")
