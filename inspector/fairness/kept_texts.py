"""Texts that a model wrote, a line for each beginning, so that a killed run goes on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from inspector.model.lines import LineFile
from inspector.results import show_plain

SCHEMA: Final = "inspector.text-line/1"
FIELDS: Final[Mapping[str, type]] = {"text": str, "tokens": int, "ended": bool}

Rows = list[dict[str, Any]]


class TextFile(LineFile):
    """A file of continuations by one process at a time; those asked otherwise stay in it.

    `asked`: the model and how its texts are drawn, as plain values. Raises BadOption where the
    file cannot be written, or holds anything else.
    """

    def __init__(self, path: Path, asked: Mapping[str, Any]) -> None:
        super().__init__(
            path,
            named=show_plain(str(path)),
            schema=SCHEMA,
            foreign="is no text that was kept here. Give a new file, or one that a run began.",
        )
        self._asked = dict(asked)

    def known(self) -> dict[str, Rows]:
        """What the file knows of this model and way of drawing, by the beginnings.

        A last line that was half written when a run was killed is cut off.
        """
        found = {}
        for number, document in enumerate(self.documents(_is_ours), 1):
            if document["asked"] == self._asked:
                rows = document["texts"]
                if not all(map(_is_row, rows)):
                    raise self.foreign(number)
                found[str(document["prompt"])] = rows
        self.cut()
        return found

    def keep(self, texts: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Write texts behind the others; they are on the disk when this returns."""
        self.add(
            [
                {"schema": SCHEMA, "asked": self._asked, "prompt": prompt, "texts": list(rows)}
                for prompt, rows in texts.items()
            ]
        )


def _is_ours(document: dict[str, Any]) -> bool:
    return isinstance(document["asked"], dict) and isinstance(document["texts"], list)


def _is_row(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and row.keys() == FIELDS.keys()
        and all(isinstance(row[name], kind) for name, kind in FIELDS.items())
    )
