"""What probes give: a number for each category with its verdict, and every item behind it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from inspector.fairness.items import Stimuli
from inspector.fairness.measures import Measured
from inspector.fairness.probes.parts import How, Part
from inspector.fairness.verdicts import Judgement
from inspector.results import Coverage, Finding, Records, Source

ALL = "all"  # the category of the overall record
QUALITY = "quality"  # the family of numbers that say what a model can do, not how biased it is
EXPLORATORY = "exploratory"  # a family of many numbers: p by Benjamini-Hochberg, not by Holm
CONTROLS = "controls"  # the family of what should show nothing

MEASURED = ("estimate", "low", "high", "unit")
TESTED = ("null", "expected", "p_value", "mde80")
COUNTED = ("n_items", "n_clusters", "n_ties")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """One number of a probe with its interval, test, counts and verdict.

    `null` is the value of `metric` without bias; `expected` what such data then show on average,
    where it is another, as for a largest difference between groups. Shares are fractions in
    [0, 1], gaps nats. `category` is "all", one of the set's, or "group: NAME" for a part that its
    authors report apart. `p_adjusted` is corrected over the records of its `family`. What begins
    with `change` is this model less the `baseline`, item by item, and None without one. None:
    could not be had.
    """

    probe: str
    metric: str
    category: str
    estimate: float | None
    low: float | None
    high: float | None
    null: float | None
    unit: str | None
    p_value: float | None
    p_adjusted: float | None
    family: str
    n_items: int
    n_clusters: int
    n_ties: int
    n_excluded: int
    mde80: float | None
    scorer: str
    data_sha256: str
    verdict: str
    reason: str
    margin: float | None
    baseline: float | None = None
    change: float | None = None
    change_low: float | None = None
    change_high: float | None = None
    change_p_value: float | None = None
    change_p_adjusted: float | None = None
    change_verdict: str | None = None
    change_reason: str | None = None
    expected: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class AskedItem:
    """What every item that was asked tells for audit; `excluded` is why it has no answer."""

    id: str
    category: str
    group: str
    cluster: str
    excluded: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ItemScore(AskedItem):
    """One item as it was asked, for audit: both texts, the score of either in nats, their gap.

    `gap` is above zero where the model prefers what the stereotype favours; None where either
    side was left out, for the reason in `excluded`.
    """

    direction: float
    scorer: str
    gap: float | None
    more: float | None
    less: float | None
    tokens_more: int
    tokens_less: int
    text_more: str
    text_less: str


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What a probe asked and heard, before anything is concluded from it.

    The first of `parts` is the overall number. `problems`: why none of them is to be believed,
    such as a failed guard of language; then every verdict is "invalid measurement".
    """

    probe: str
    scorer: str
    stimuli: Stimuli[Any]
    items: tuple[AskedItem, ...]
    parts: tuple[Part, ...]
    problems: tuple[str, ...]
    source: Source
    coverage: Coverage
    summary: Mapping[str, Any]
    findings: tuple[Finding, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Probed(Records[Probe]):
    """Records of a probe, with the items that they were made from, and its answers."""

    items: tuple[AskedItem, ...]
    answers: tuple[Answers, ...]


def of_items(metric: str, category: str, family: str, items: Sequence[ItemScore], how: How) -> Part:
    """A part made of the gaps of items, clustered as they say."""
    gaps = np.array([np.nan if item.gap is None else item.gap for item in items], dtype=float)
    return Part(
        metric=metric,
        category=category,
        family=family,
        ids=tuple(item.id for item in items),
        clusters=tuple(item.cluster for item in items),
        values=gaps[:, None],
        how=how,
    )


def by(
    metric: str,
    family: str,
    items: Sequence[ItemScore],
    name: Callable[[ItemScore], str],
    how: How,
) -> list[Part]:
    """A part for each category that `name` gives, in order of their names."""
    found: dict[str, list[ItemScore]] = {key: [] for key in sorted({name(i) for i in items})}
    for item in items:
        found[name(item)].append(item)
    return [of_items(metric, category, family, part, how) for category, part in found.items()]


def record(
    common: Mapping[str, Any],
    part: Part,
    measured: Measured | None,
    judged: Judgement,
) -> Probe:
    """A record from what was measured; `common` holds probe, scorer and data_sha256."""
    if measured is None:
        values: dict[str, Any] = dict.fromkeys((*MEASURED, *TESTED)) | dict.fromkeys(COUNTED, 0)
    else:
        values = {
            **{name: getattr(measured, name) for name in (*TESTED, *COUNTED)},
            **{name: getattr(measured.estimate, name) for name in ("low", "high", "unit")},
            "estimate": measured.estimate.value,
        }
    return Probe(
        **common,
        **values,
        metric=part.metric,
        category=part.category,
        family=part.family,
        p_adjusted=judged.p_adjusted,
        n_excluded=len(part) if measured is None else measured.n_excluded,
        verdict=judged.verdict,
        reason=judged.reason,
        margin=judged.margin,
    )
