"""A file of answers, one document in a line, that a killed run leaves whole for the next one."""

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from inspector.errors import BadOption
from inspector.results import show_plain


class Lines:
    """The file while it is written, by this process alone; raises BadOption where it cannot be.

    A line is written at once and on the disk before `add` returns.
    """

    def __init__(self, path: Path, command: str) -> None:
        self.named = f"-o {show_plain(str(path))}"
        self._command = command
        self._start = json.dumps({"schema": f"inspector.{command}/1"})[:-1].encode()
        self._path = path

    def __enter__(self) -> "Lines":
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

    def known(self, questions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The documents in the file, which must answer the first of the questions, in order.

        What was half written when a run was killed is cut off. Raises BadOption, and changes
        nothing, where anything else stands in the file.
        """
        self._file.seek(0)
        *whole, rest = self._file.read().split(b"\n")
        if not (rest.startswith(self._start) or self._start.startswith(rest)):
            raise self._foreign(len(whole) + 1)
        documents = [self._document(number, line) for number, line in enumerate(whole, 1)]
        if len(documents) > len(questions):
            raise BadOption(
                f"{self.named}: holds {len(documents)} answers, but there are {len(questions)} "
                "prompts. Give another file."
            )
        for number, (document, question) in enumerate(zip(documents, questions, strict=False), 1):
            self._check(number, document["summary"].get("batch"), question)
        if rest:
            self._file.truncate(sum(len(line) + 1 for line in whole))
        return documents

    def add(self, document: Mapping[str, Any]) -> None:
        """Write one document behind the others."""
        left = json.dumps(document, allow_nan=False).encode() + b"\n"
        try:
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from None

    def _document(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            found = json.loads(line)
            if found["schema"] == f"inspector.{self._command}/1" and found["records"] is not None:
                found["summary"].get("batch")
                return dict(found)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass
        raise self._foreign(number)

    def _check(self, number: int, asked: Any, question: Mapping[str, Any]) -> None:
        if asked == question:
            return
        if not isinstance(asked, dict):
            raise self._foreign(number)
        for key in question:
            if asked.get(key) != question[key]:
                before, now = (show_plain(str(one), 60) for one in (asked.get(key), question[key]))
                raise BadOption(
                    f"{self.named}: line {number} answers another question ({key}: {before}; now: "
                    f"{now}). Give another file, or ask as before."
                )
        raise self._foreign(number)

    def _foreign(self, number: int) -> BadOption:
        return BadOption(
            f"{self.named}: line {number} is no answer of `inspector {self._command}`. "
            "Give a new file, or one that this command began."
        )

    def _unwritable(self, error: OSError) -> BadOption:
        return BadOption(f"{self.named}: cannot be written: {error.strerror}.")
