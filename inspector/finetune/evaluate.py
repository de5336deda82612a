"""What a model is worth on rows: sums over items, never means of batch means."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, Num
from sklearn import metrics

from inspector.finetune.records import Metric
from inspector.finetune.tasks import IGNORED

DRAWS: Final = 1000
Array = Num[np.ndarray, "..."]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """A model's answers to rows: by row the sum of errors and the number of items.

    `answers` and `labels` are by item (of language models none): classes as numbers, labels of
    several as rows of 0 and 1, real numbers as they are. `rows` is the row of each item.
    """

    errors: Float[np.ndarray, " rows"]
    items: Float[np.ndarray, " rows"]
    answers: Array | None
    labels: Array | None
    of_row: Array | None
    logits: Array | None = None  # of single labels, for what follows on


def measured(task: str, split: str, asked: Asked, seed: int) -> list[Metric]:
    """The loss and the metrics of the task, with 95 % percentile intervals over resampled rows.

    Source: Efron 1979.
    """
    draw = np.random.default_rng(seed)
    rows = len(asked.errors)
    drawn = draw.integers(0, rows, size=(DRAWS, rows))
    total = asked.errors.sum() / max(asked.items.sum(), 1)
    counts = np.maximum(asked.items[drawn].sum(axis=1), 1)
    found = [
        _metric(split, "loss", total, asked.errors[drawn].sum(axis=1) / counts, rows, "nats", "0")
    ]
    if task == "regression":
        found[0] = dataclasses.replace(found[0], unit="squared units")
        roots = np.sqrt(asked.errors[drawn].mean(axis=1))
        root = float(np.sqrt(asked.errors.mean()))
        found.append(_metric(split, "rmse", root, roots, rows, "units of the label", "0"))
    if asked.answers is None or asked.labels is None or asked.of_row is None:
        return found
    items = [np.flatnonzero(asked.of_row == row) for row in range(rows)]
    for name, of in METRICS[task].items():
        value = of(asked.labels, asked.answers)
        again = []
        for one in drawn[:200] if name != "accuracy" else ():
            chosen = np.concatenate([items[row] for row in one])
            again.append(of(asked.labels[chosen], asked.answers[chosen]))
        if name == "accuracy":
            right = np.array([np.sum(asked.labels[i] == asked.answers[i]) for i in items])
            sizes = np.array([len(i) for i in items])
            again = right[drawn].sum(axis=1) / np.maximum(sizes[drawn].sum(axis=1), 1)
        n = len(asked.labels)
        found.append(_metric(split, name, value, np.array(again), n, "share", "1"))
    return found


def _metric(
    split: str, name: str, value: float, drawn: Array, n: int, unit: str, ideal: str
) -> Metric:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Metric(
        split=split,
        metric=name,
        value=float(value),
        low=float(low),
        high=float(high),
        n=n,
        unit=unit,
        ideal=ideal,
    )


def _accuracy(labels: Array, answers: Array) -> float:
    return float(metrics.accuracy_score(labels, answers))


def _macro_f1(labels: Array, answers: Array) -> float:
    return float(metrics.f1_score(labels, answers, average="macro", zero_division=0.0))


def _micro_f1(labels: Array, answers: Array) -> float:
    return float(metrics.f1_score(labels, answers, average="micro", zero_division=0.0))


METRICS: Final = {
    "sequence-classification": {"accuracy": _accuracy, "macro_f1": _macro_f1},
    "multi-label-classification": {"micro_f1": _micro_f1, "macro_f1": _macro_f1},
    "regression": {},
    "token-classification": {"accuracy": _accuracy, "macro_f1": _macro_f1},
    "causal-lm": {},
    "masked-lm": {},
}
"""Metrics of answers, by task; the loss is always there."""


def answers_of(task: str, logits: torch.Tensor) -> torch.Tensor:
    """What a model answers: the likeliest class, or each label that is likelier than not."""
    if task == "multi-label-classification":
        return (logits > 0).long()
    return logits.argmax(dim=-1)


def value_of(found: Sequence[Metric], metric: str) -> float:
    """The value of a metric by name."""
    return next(one.value for one in found if one.metric == metric)


def constant_answer(
    task: str, train: Sequence[Mapping[str, Any]], asked: Sequence[Mapping[str, Any]]
) -> float | None:
    """What the best answer that never changes reaches in the metric of the task; None: no such.

    `train` and `asked` are features of rows: the answer is chosen on the first and scored on the
    second. Of language models it is the frequencies of tokens, each counted once more.
    """
    if task == "regression":
        mean = float(np.mean([row["labels"] for row in train]))
        return float(np.sqrt(np.mean([(row["labels"] - mean) ** 2 for row in asked])))
    if task in ("sequence-classification", "token-classification"):
        common = _items(train).most_common(1)[0][0]
        found = _items(asked)
        return found[common] / found.total()
    if task.endswith("-lm"):
        known, found = (
            Counter(t for row in rows for t in row["input_ids"]) for rows in (train, asked)
        )
        size = known.total() + len(known | found)
        logs = {token: np.log((known[token] + 1) / size) for token in found}
        return float(-sum(found[token] * logs[token] for token in found) / found.total())
    return None


def _items(rows: Sequence[Mapping[str, Any]]) -> Counter[int]:
    labels = (row["labels"] for row in rows)
    flat = (one for row in labels for one in (row if isinstance(row, list) else [row]))
    return Counter(one for one in flat if one != IGNORED)
