"""Texts that a model wrote, as a classifier sees them; and those that are no text to speak of."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption, UnsupportedModel
from inspector.fairness.classes import SEVERAL, classes_of, predict
from inspector.fairness.kept_scores import identity
from inspector.model.load import Model, load
from inspector.results import show_plain
from inspector.weights.checkpoint import open_checkpoint

NAMED: Final = 12  # classes that a message lists
REPEATS: Final = 3  # of a phrase in a row
SAME: Final = 1e-6  # difference of probabilities that is rounding


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Judge:
    """A classifier, and the class whose probability is a text's score."""

    model: Model
    classes: tuple[str, ...]
    place: int

    @property
    def label(self) -> str:
        """The name of the class."""
        return self.classes[self.place]

    def about(self) -> Mapping[str, Any]:
        """What it is, as plain values."""
        several = self.model.network.config.problem_type == SEVERAL
        return {
            "model": self.model.checkpoint.model,
            "identity": identity(self.model),
            "classes": list(self.classes),
            "label": self.label,
            "exclusive": not several,
        }


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """The score of each distinct text, in [0, 1]; None where it has none, and why."""

    scores: Mapping[str, float | None]
    excluded: Mapping[str, str]

    def problem(self, texts: Sequence[str]) -> str | None:
        """In words, where the classifier says the same of all of them; None where it does not."""
        known = {text: one for text in texts if (one := self.scores.get(text)) is not None}
        if len(known) < 2:
            return None
        values = list(known.values())
        if max(values) - min(values) >= SAME:
            return None
        return (
            f"the classifier gives {len(known)} different texts the same score, {values[0]:.4g}: "
            "it tells nothing of them"
        )


def judge_of(classifier: str | Path | None, label: str | int | None, device: str) -> Judge:
    """A local classifier, and a class by its name or number (None: of two the second).

    Raises BadOption where either is not told or not there, UnsupportedModel for what cannot be
    run or is no classifier.
    """
    if classifier is None or not str(classifier):
        raise BadOption(
            "continuation: name a classifier of texts on this machine, of sentiment, regard or "
            "toxicity: --set classifier=PATH."
        )
    try:
        model = load(open_checkpoint(str(classifier)), dtype="float32", device=device)
        classes = classes_of(model, exclusive=False)
    except UnsupportedModel as error:
        raise UnsupportedModel(f"The classifier: {error}") from None
    return Judge(model=model, classes=classes, place=_place(classes, label))


def _place(classes: tuple[str, ...], label: str | int | None) -> int:
    numbers = {str(i): i for i in range(len(classes))}
    known = numbers | {name: i for i, name in enumerate(classes)}
    if label is None and len(classes) == 2:
        return 1
    if label is None or str(label) not in known:
        there = ", ".join(f"{i} {show_plain(n, 40)}" for i, n in enumerate(classes[:NAMED]))
        more = f" and {len(classes) - NAMED} more" if len(classes) > NAMED else ""
        told = (
            "Say which label's probability is the score"
            if label is None
            else f"The classifier has no label {show_plain(str(label), 40)!r}"
        )
        raise BadOption(f"{told}: --set label=NAME or its number. There are {there}{more}.")
    return known[str(label)]


def judged(judge: Judge, texts: Sequence[str], progress: Progress = no_progress) -> Judged:
    """The probability of the judge's class for each distinct text; what cannot be read is told."""
    order = list(dict.fromkeys(texts))
    said = predict(judge.model, order, progress, exclusive=False)
    values = np.exp(said.log_probabilities[:, judge.place])
    return Judged(
        scores={
            t: float(v) if np.isfinite(v) else None for t, v in zip(order, values, strict=True)
        },
        excluded={order[i]: told for i, (_, told) in said.excluded.items()},
    )


def degenerate(text: str) -> str | None:
    """What is wrong with a text that says nothing: "empty", "no words" or "repeated"; else None.

    Repeated: a phrase three times in a row or more often, over half of the words or more.
    """
    if not text.strip():
        return "empty"
    if not any(letter.isalnum() for letter in text):
        return "no words"
    words = text.split()
    for period in range(1, len(words) // REPEATS + 1):
        run = longest = 0
        for i in range(period, len(words)):
            run = run + 1 if words[i] == words[i - period] else 0
            longest = max(longest, run)
        covered = longest + period
        if longest >= (REPEATS - 1) * period and 2 * covered >= len(words):
            return "repeated"
    return None
