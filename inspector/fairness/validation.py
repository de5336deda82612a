"""The report on material of one's own: what can be used, and row by row what cannot and why."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from inspector.fairness.items import BadStimuli, Remark
from inspector.fairness.stimuli import read


@dataclasses.dataclass(frozen=True, kw_only=True)
class Validation:
    """What reading a file gave; `error` is None where it can be used in part or whole.

    `rows` is None where the file as a whole could not be read. `strict` is True where every row
    became part of an item.
    """

    name: str
    path: str
    strict: bool
    error: str | None
    rows: int | None
    items: int
    sha256: str | None
    excluded: tuple[Remark, ...]
    notes: tuple[Remark, ...]

    def lines(self) -> Iterator[str]:
        """The report in words: a summary, then one line for each row that is left out or odd."""
        rows = "unknown" if self.rows is None else f"{self.rows:,}"
        yield f"{self.name}: {rows} rows, {self.items:,} items, {len(self.excluded):,} left out"
        if self.error:
            yield f"error: {self.error}"
        yield from (f"left out: {remark}" for remark in self.excluded)
        yield from (f"note: {remark}" for remark in self.notes)


def validate(name: str, path: Path) -> Validation:
    """Read a set from a file for its report alone; a file that cannot be read is a report too.

    Raises BadOption for a set of no such name.
    """
    try:
        stimuli = read(name, path)
    except BadStimuli as error:
        return Validation(
            name=name,
            path=str(path),
            strict=False,
            error=str(error),
            rows=None,
            items=0,
            sha256=None,
            excluded=error.remarks,
            notes=(),
        )
    return Validation(
        name=name,
        path=str(path),
        strict=not stimuli.excluded,
        error=None,
        rows=stimuli.rows,
        items=len(stimuli.items),
        sha256=stimuli.sha256,
        excluded=stimuli.excluded,
        notes=stimuli.notes,
    )
