"""Files of one document in a line, which a killed run leaves whole for the next one."""

import fcntl
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from inspector.errors import BadOption
from inspector.results import show_plain

Opened = TypeVar("Opened", bound="LineFile")


class LineFile:
    """The file while it is written, by this process alone; raises BadOption where it cannot be.

    Every document has the same `schema`; `foreign` tells what a line is not, and what to do.
    """

    def __init__(self, path: Path, named: str, schema: str, foreign: str) -> None:
        self.named, self._path = named, path
        self._schema, self._foreign = schema, foreign

    def __enter__(self: Opened) -> Opened:
        try:
            self._file = self._path.open("ab+", buffering=0)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise BadOption(f"{self.named}: another process is writing to it.") from None
        except OSError as error:
            raise self._unwritable(error) from None
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def documents(self, is_ours: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """What the file holds; raises BadOption, and changes nothing, where a line is not ours."""
        self._file.seek(0)
        content = self._file.read()
        *whole, rest = content.split(b"\n")
        start = json.dumps({"schema": self._schema})[:-1].encode()
        if not (rest.startswith(start) or start.startswith(rest)):
            raise self.foreign(len(whole) + 1)
        self._whole = len(content) - len(rest)
        return [self._document(number, line, is_ours) for number, line in enumerate(whole, 1)]

    def cut(self) -> None:
        """Take off a last line that was half written when a run was killed; after `documents`."""
        self._file.truncate(self._whole)

    def add(self, documents: Sequence[Mapping[str, Any]]) -> None:
        """Write documents behind the others; they are on the disk when this returns."""
        left = "".join(json.dumps(one, allow_nan=False) + "\n" for one in documents).encode()
        try:
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from None

    def foreign(self, number: int) -> BadOption:
        """What to raise for a line that is not ours."""
        return BadOption(f"{self.named}: line {number} {self._foreign}")

    def _document(
        self, number: int, line: bytes, is_ours: Callable[[dict[str, Any]], bool]
    ) -> dict[str, Any]:
        try:
            found = json.loads(line)
            if found["schema"] == self._schema and is_ours(found):
                return dict(found)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass
        raise self.foreign(number)

    def _unwritable(self, error: OSError) -> BadOption:
        return BadOption(f"{self.named}: cannot be written: {error.strerror}.")


class Lines(LineFile):
    """The answers of one command, in the order of its questions."""

    def __init__(self, path: Path, command: str) -> None:
        super().__init__(
            path,
            named=f"-o {show_plain(str(path))}",
            schema=f"inspector.{command}/1",
            foreign=f"is no answer of `inspector {command}`. Give a new file, or one that this "
            "command began.",
        )

    def known(self, questions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The documents in the file, which must answer the first of the questions, in order.

        What was half written when a run was killed is cut off. Raises BadOption, and changes
        nothing, where anything else stands in the file.
        """
        documents = self.documents(_is_answer)
        if len(documents) > len(questions):
            raise BadOption(
                f"{self.named}: holds {len(documents)} answers, but there are {len(questions)} "
                "prompts. Give another file."
            )
        for number, (document, question) in enumerate(zip(documents, questions, strict=False), 1):
            self._check(number, document["summary"].get("batch"), question)
        self.cut()
        return documents

    def _check(self, number: int, asked: Any, question: Mapping[str, Any]) -> None:
        if asked == question:
            return
        if not isinstance(asked, dict):
            raise self.foreign(number)
        for key in question:
            if asked.get(key) != question[key]:
                before, now = (show_plain(str(one), 60) for one in (asked.get(key), question[key]))
                raise BadOption(
                    f"{self.named}: line {number} answers another question ({key}: {before}; now: "
                    f"{now}). Give another file, or ask as before."
                )
        raise self.foreign(number)


def _is_answer(document: dict[str, Any]) -> bool:
    document["summary"].get("batch")  # raises where it is no summary
    return document["records"] is not None
