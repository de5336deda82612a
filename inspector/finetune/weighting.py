"""How much each training row counts: labels alike, or groups and labels as if independent."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from inspector.errors import BadOption, NotEnoughData
from inspector.finetune.config import Config
from inspector.finetune.counterfactuals import Doubled, doubled
from inspector.finetune.data import Example
from inspector.finetune.objectives import terms_of
from inspector.results import show_plain

FEWEST: Final = 2  # groups


def rows_to_learn(
    examples: Sequence[Example], config: Config
) -> tuple[tuple[Example, ...], Doubled | None]:
    """Training rows as the objective wants them: with counterfactuals, and each with its weight.

    To be called on the rows of one training split, never before rows are parted. Raises BadOption
    for an objective that compares groups of which there are none.
    """
    rows, counts = doubled(examples, config)
    for name, (_, term) in terms_of(config).items():
        if term.groups:
            need_groups(rows, config, f"objective.{name}")
    return weighted(rows, config), counts


def weighted(examples: Sequence[Example], config: Config) -> tuple[Example, ...]:
    """Training rows with their weights, of mean 1; as they are where nothing is asked for.

    Raises BadOption where the task or the rows have no labels or groups to weigh by.
    """
    objective = config.objective
    rows = tuple(examples)
    if objective.class_weights == "none" and not objective.reweighing:
        return rows
    key = "objective.reweighing" if objective.reweighing else "objective.class_weights"
    if config.task != "sequence-classification":
        raise BadOption(f"{key}: only rows of sequence-classification have one label to weigh by.")
    if objective.reweighing and objective.class_weights != "none":
        raise BadOption(
            "objective.reweighing: weighs rows by label and group, class_weights by label alone; "
            "choose one of them."
        )
    if objective.reweighing:
        need_groups(rows, config, key)
        weights = reweighed([(one.group, one.answer) for one in rows])
    else:
        weights = balanced([one.answer for one in rows])
    return tuple(
        dataclasses.replace(one, weight=weight) for one, weight in zip(rows, weights, strict=True)
    )


def balanced(labels: Sequence[Any]) -> list[float]:
    """A weight for each row such that all labels weigh the same: N / (K n_label).

    Source: scikit-learn, class_weight="balanced" (King and Zeng 2001).
    """
    counts = Counter(labels)
    return [len(labels) / (len(counts) * counts[label]) for label in labels]


def reweighed(pairs: Sequence[tuple[Any, Any]]) -> list[float]:
    """A weight for each (group, label) such that both are independent: P(a) P(y) / P(a, y).

    All are 1 where they already are. Raises NotEnoughData where a group lacks a label: no weight
    makes up for rows that are not there. Source: Kamiran and Calders 2012.
    """
    groups, labels, both = (
        Counter(pair[0] for pair in pairs),
        Counter(pair[1] for pair in pairs),
        Counter(pairs),
    )
    absent = [(a, y) for a in groups for y in labels if (a, y) not in both]
    if absent:
        group, label = (show_plain(str(one), 40) for one in absent[0])
        raise NotEnoughData(
            f"objective.reweighing: no training row of group {group!r} has the label {label!r} "
            f"({len(absent)} such combinations). Add rows of them."
        )
    rows = len(pairs)
    return [groups[a] * labels[y] / (rows * both[a, y]) for a, y in pairs]


def need_groups(examples: Sequence[Example], config: Config, key: str) -> None:
    """Raise BadOption unless all training rows have a group, and these are at least two."""
    if config.data.group is None:
        raise BadOption(
            f"{key}: groups are not known. Name the column of each row's group in data.group."
        )
    lacking = [one for one in examples if one.group is None]
    if lacking:
        raise BadOption(
            f"{key}: {len(lacking):,} training rows have no group, the first made from row "
            f"{lacking[0].line}: objective.counterfactuals does not know what its group becomes. "
            "Name the groups by words that are swapped, such as he and she, or give these in "
            "objective.pairs."
        )
    found = {one.group for one in examples}
    if len(found) < FEWEST:
        raise BadOption(
            f"{key}: all {len(examples):,} training rows are of one group: there is no gap."
        )
