"""Rows to learn from, to steer by and to be asked about: read, checked, and kept apart."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from inspector.errors import BadOption
from inspector.fairness.items import BadStimuli, DataFile, Remark
from inspector.fairness.rows import Row, Sieve, Unfit
from inspector.finetune.config import Config, Data
from inspector.finetune.sources import rows_of
from inspector.results import show_plain

SPLITS: Final = ("train", "validation", "test")
PARTED: Final = "|"  # between several labels of one row
Answer = str | float | tuple[str, ...] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """One row: its text, its answer in the form of the task, and what it must stay with.

    `words` are those of token classification, each with a label in `answer`. `weight` is how much
    the row counts, `twin` its text with the words of groups swapped, where answers to both are
    to agree; `derived` marks a row that is itself such a text, made from the row of that line.
    """

    file: str
    line: int
    text: str
    words: tuple[str, ...] | None = None
    answer: Answer = None
    group: str | None = None
    together: str | None = None
    weight: float = 1.0
    twin: str | None = None
    derived: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Splits:
    """The rows of a run by split, with what was left out of each file and why.

    `labels` are those of the training rows, sorted; a label elsewhere is an error.
    """

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    labels: tuple[str, ...]
    files: tuple[DataFile, ...]
    excluded: tuple[Remark, ...]
    notes: tuple[Remark, ...]

    def of(self, split: str) -> tuple[Example, ...]:
        """The rows of a split by its name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[split]


def read_splits(config: Config) -> Splits:
    """Read all rows of a configuration and part them.

    Validation rows that no file gives are drawn from the training rows by the seed. Raises
    BadOption where a split ends up empty, classes are fewer than two, or a label is unseen.
    """
    sieve = Sieve()
    files: list[DataFile] = []
    read = {
        split: _examples(path, split, config, sieve, files)
        for split in SPLITS
        if (path := getattr(config.data, split)) is not None
    }
    train = read["train"]
    validation = read.get("validation")
    held = config.data.held_out if validation is None else 0.0
    wanted = len(train) if config.data.rows is None else config.data.rows / (1 - held)
    if wanted < len(train):
        train = held_out(train, wanted / len(train), config.seed)[1]
    if validation is None:
        train, validation = held_out(train, held, config.seed)
    splits = Splits(
        train=train,
        validation=validation,
        test=read.get("test", ()),
        labels=labels_of(train),
        files=tuple(files),
        excluded=tuple(sieve.excluded),
        notes=tuple(sieve.notes),
    )
    _check(config, splits, list(read))
    return splits


def labels_of(examples: Sequence[Example]) -> tuple[str, ...]:
    """All labels that rows have, sorted."""
    found: set[str] = set()
    for one in examples:
        if isinstance(one.answer, str):
            found.add(one.answer)
        elif isinstance(one.answer, tuple):
            found |= {*one.answer}
    return tuple(sorted(found))


def held_out(
    examples: Sequence[Example], share: float, seed: int
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Rows parted at random into those to learn from and a share to steer by.

    Rows that belong together are on one side. Of each label the share is held out as nearly as
    whole rows allow.
    """
    draw = np.random.default_rng(seed)
    by_label: dict[Answer, dict[str, list[int]]] = {}
    label_of: dict[str, Answer] = {}
    for i, one in enumerate(examples):
        key = f"\0{i}" if one.together is None else one.together
        label = label_of.setdefault(key, one.answer if isinstance(one.answer, str) else None)
        by_label.setdefault(label, {}).setdefault(key, []).append(i)
    held: set[int] = set()
    for units in by_label.values():
        order = [list(units.values())[i] for i in draw.permutation(len(units))]
        wanted = share * sum(map(len, order))
        taken = 0
        for rows in order:
            if taken + len(rows) / 2 > wanted:
                break
            held |= {*rows}
            taken += len(rows)
    kept = tuple(one for i, one in enumerate(examples) if i not in held)
    return kept, tuple(one for i, one in enumerate(examples) if i in held)


def _examples(
    path: str, split: str, config: Config, sieve: Sieve, files: list[DataFile]
) -> tuple[Example, ...]:
    data = config.data
    needed = [data.text]
    if not config.task.endswith("-lm"):
        needed.append(data.label)
    needed += [name for name in (data.group, data.together) if name is not None]
    try:
        table = rows_of(path, split, sieve, needed)
    except BadStimuli as error:
        raise BadOption(str(error)) from None
    files.append(table.file)
    make = READERS[config.task]
    return tuple(sieve.sift(table.rows, lambda row: make(row, data)))


def _common(row: Row, data: Data) -> dict[str, Any]:
    return {
        "file": row.file,
        "line": row.line,
        "group": row.text(data.group) if data.group else None,
        "together": row.text(data.together) if data.together else None,
    }


def _text_only(row: Row, data: Data) -> Example:
    return Example(**_common(row, data), text=row.text(data.text))


def _labelled(row: Row, data: Data) -> Example:
    return Example(**_common(row, data), text=row.text(data.text), answer=row.text(data.label))


def _many_labels(row: Row, data: Data) -> Example:
    given = row.fields.get(data.label)
    found = given if isinstance(given, list) else row.optional(data.label, "").split(PARTED)
    labels = tuple(sorted({str(one).strip() for one in found} - {""}))
    return Example(**_common(row, data), text=row.text(data.text), answer=labels)


def _number(row: Row, data: Data) -> Example:
    given = row.fields.get(data.label)
    try:
        if isinstance(given, bool) or given is None:
            raise ValueError
        value = float(given)
        if not np.isfinite(value):
            raise ValueError
    except (TypeError, ValueError):
        shown = show_plain(str(given), 40)
        raise Unfit("no number", f"{show_plain(data.label)} is {shown!r}, no number") from None
    return Example(**_common(row, data), text=row.text(data.text), answer=value)


def _words(row: Row, data: Data) -> Example:
    words, labels = (_list(row, name) for name in (data.text, data.label))
    if len(words) != len(labels):
        raise Unfit("labels", f"has {len(words)} words and {len(labels)} labels")
    return Example(**_common(row, data), text=" ".join(words), words=words, answer=labels)


def _list(row: Row, name: str) -> tuple[str, ...]:
    given = row.fields.get(name)
    if isinstance(given, list) and given and all(isinstance(one, str) and one for one in given):
        return tuple(given)
    return tuple(row.text(name).split())


READERS: Final[Mapping[str, Any]] = {
    "sequence-classification": _labelled,
    "multi-label-classification": _many_labels,
    "regression": _number,
    "token-classification": _words,
    "causal-lm": _text_only,
    "masked-lm": _text_only,
}
"""What a row becomes, by task."""


def _check(config: Config, splits: Splits, read: Sequence[str]) -> None:
    for split in ("train", "validation", *(["test"] if "test" in read else [])):
        if not splits.of(split):
            why = f" {len(splits.excluded):,} rows were left out" if splits.excluded else ""
            first = f", the first because it {splits.excluded[0].statement}" if why else ""
            raise BadOption(
                f"{split}: there is no row to use.{why}{first}. Give more rows, or mend these."
            )
    classes = "classification" in config.task
    if classes and len(splits.labels) < 2:
        raise BadOption(
            f"train: all {len(splits.train):,} rows have the same label "
            f"{show_plain(splits.labels[0]) if splits.labels else ''!r}: there is nothing to tell "
            "apart. Give rows of at least two labels."
        )
    for split in ("validation", "test"):
        unseen = sorted({*labels_of(splits.of(split))} - {*splits.labels})
        if classes and unseen:
            shown = ", ".join(show_plain(one, 40) for one in unseen[:5])
            raise BadOption(
                f"{split}: {len(unseen)} labels stand in no training row: {shown}. "
                "Add training rows of them, or take these rows out."
            )
