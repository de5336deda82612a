"""Scores kept in a file, a line each, so that a run that was killed goes on where it stood."""

import dataclasses
import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, TracebackType
from typing import Any, Final

from inspector.errors import BadOption
from inspector.model import receipt
from inspector.model.batch import digest
from inspector.model.load import Model
from inspector.results import show_plain
from inspector.weights.checkpoint import versions

SCHEMA: Final = "inspector.score-line/1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """What is known of one sentence by one scorer; `score` is None where it was left out."""

    score: float | None
    tokens: int
    right: int
    excluded: str | None
    told: str | None


FIELDS: Final[Mapping[str, tuple[type, ...]]] = {
    "score": (float, int, NoneType),
    "tokens": (int,),
    "right": (int,),
    "excluded": (str, NoneType),
    "told": (str, NoneType),
}


def identity(model: Model) -> str:
    """A name for all that scores hang on beside sentence and scorer, in 16 hexadecimal digits.

    Parameters, config, tokenizer, precision, device, and the versions of the code.
    """
    all_of = {
        "model": digest(model),
        "dtype": receipt.dtype(model),
        "device": model.device.type,
        "versions": {**versions(), **receipt.versions()},
    }
    return hashlib.sha256(json.dumps(all_of, sort_keys=True).encode()).hexdigest()[:16]


class ScoreFile:
    """A file of scores by one process at a time; those of other models and scorers stay in it.

    Raises BadOption where it cannot be written, or holds anything else.
    """

    def __init__(self, path: Path, scorer: str, model: str) -> None:
        self.named, self._path = show_plain(str(path)), path
        self._asked = {"scorer": scorer, "model": model}

    def __enter__(self) -> "ScoreFile":
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

    def known(self) -> dict[str, Kept]:
        """What the file knows of this scorer and model, by the sentences' keys.

        A last line that was half written when a run was killed is cut off.
        """
        self._file.seek(0)
        *whole, rest = self._file.read().split(b"\n")
        found = {}
        for number, line in enumerate(whole, 1):
            document = self._document(number, line)
            if all(document.get(name) == value for name, value in self._asked.items()):
                found[str(document["sentence"])] = self._kept(number, document)
        start = json.dumps({"schema": SCHEMA})[:-1].encode()
        if not (rest.startswith(start) or start.startswith(rest)):
            raise self._foreign(len(whole) + 1)
        if rest:
            self._file.truncate(sum(len(line) + 1 for line in whole))
        return found

    def add(self, scores: Mapping[str, Kept]) -> None:
        """Write scores behind the others; they are on the disk when this returns."""
        lines = [
            {"schema": SCHEMA, **self._asked, "sentence": key, **dataclasses.asdict(kept)}
            for key, kept in scores.items()
        ]
        left = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines).encode()
        try:
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from None

    def _document(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            found = json.loads(line)
            if found["schema"] == SCHEMA and found["sentence"]:
                return dict(found)
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        raise self._foreign(number)

    def _kept(self, number: int, document: Mapping[str, Any]) -> Kept:
        values = {name: document.get(name) for name in FIELDS}
        if not all(isinstance(values[name], kinds) for name, kinds in FIELDS.items()):
            raise self._foreign(number)
        return Kept(**values)  # type: ignore[arg-type]  # just checked

    def _foreign(self, number: int) -> BadOption:
        return BadOption(
            f"{self.named}: line {number} is no score that was kept here. Give a new file, or one "
            "that a run began."
        )

    def _unwritable(self, error: OSError) -> BadOption:
        return BadOption(f"{self.named}: cannot be written: {error.strerror}.")
