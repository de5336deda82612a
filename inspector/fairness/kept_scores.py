"""Scores kept in a file, a line each, so that a run that was killed goes on where it stood."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Final

from inspector.model import methods, receipt
from inspector.model.batch import digest
from inspector.model.lines import LineFile
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
        "versions": {**versions(), **methods.versions()},
    }
    return hashlib.sha256(json.dumps(all_of, sort_keys=True).encode()).hexdigest()[:16]


class ScoreFile(LineFile):
    """A file of scores by one process at a time; those of other models and scorers stay in it.

    Raises BadOption where it cannot be written, or holds anything else.
    """

    def __init__(self, path: Path, scorer: str, model: str) -> None:
        super().__init__(
            path,
            named=show_plain(str(path)),
            schema=SCHEMA,
            foreign="is no score that was kept here. Give a new file, or one that a run began.",
        )
        self._asked = {"scorer": scorer, "model": model}

    def known(self) -> dict[str, Kept]:
        """What the file knows of this scorer and model, by the sentences' keys.

        A last line that was half written when a run was killed is cut off.
        """
        found = {}
        for number, document in enumerate(self.documents(lambda one: bool(one["sentence"])), 1):
            if all(document.get(name) == value for name, value in self._asked.items()):
                found[str(document["sentence"])] = self._kept(number, document)
        self.cut()
        return found

    def keep(self, scores: Mapping[str, Kept]) -> None:
        """Write scores behind the others; they are on the disk when this returns."""
        self.add(
            [
                {"schema": SCHEMA, **self._asked, "sentence": key, **dataclasses.asdict(kept)}
                for key, kept in scores.items()
            ]
        )

    def _kept(self, number: int, document: Mapping[str, Any]) -> Kept:
        values = {name: document.get(name) for name in FIELDS}
        if not all(isinstance(values[name], kinds) for name, kinds in FIELDS.items()):
            raise self.foreign(number)
        return Kept(**values)  # type: ignore[arg-type]  # just checked
