"""What probes give: a number for each category with its verdict, and every item behind it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from inspector.fairness.measures import Measured
from inspector.fairness.verdicts import Judgement
from inspector.results import Records

ALL = "all"  # the category of the overall record

MEASURED = ("estimate", "low", "high", "null", "unit", "p_value", "mde80")
COUNTED = ("n_items", "n_clusters", "n_ties")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """One number of a probe with its interval, test, counts and verdict.

    `null` is its value without bias. Shares are fractions in [0, 1], gaps nats. `category` is
    "all", one of the set's, or "group: NAME" for a part that its authors report apart.
    `p_adjusted` is corrected over the records of its `family`. None: could not be had.
    """

    probe: str
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class ItemScore:
    """One item as it was asked, for audit: the score of either side in nats, and their gap.

    `gap` is above zero where the model prefers what the stereotype favours; None where either
    side was left out, for the reason in `excluded`.
    """

    id: str
    category: str
    group: str
    cluster: str
    direction: int
    gap: float | None
    more: float | None
    less: float | None
    tokens_more: int
    tokens_less: int
    excluded: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probed(Records[Probe]):
    """Records of a probe, with the items that they were made from."""

    items: tuple[ItemScore, ...] = ()


def record(
    common: Mapping[str, Any],
    category: str,
    family: str,
    measured: Measured | None,
    judged: Judgement,
    n_excluded: int,
) -> Probe:
    """A record from what was measured; `common` holds probe, scorer and data_sha256."""
    if measured is None:
        values: dict[str, Any] = dict.fromkeys(MEASURED) | dict.fromkeys(COUNTED, 0)
    else:
        values = {
            **{name: getattr(measured, name) for name in ("null", "p_value", "mde80", *COUNTED)},
            **{name: getattr(measured.estimate, name) for name in ("low", "high", "unit")},
            "estimate": measured.estimate.value,
        }
    return Probe(
        **common,
        **values,
        category=category,
        family=family,
        p_adjusted=judged.p_adjusted,
        n_excluded=n_excluded,
        verdict=judged.verdict,
        reason=judged.reason,
        margin=judged.margin,
    )
