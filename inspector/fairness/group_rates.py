"""Rates of a classifier's decisions by group, and how far apart groups are in them."""

import dataclasses
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from inspector.errors import BadOption, NotEnoughData

FEWEST: Final = 10  # texts that a group's rate must rest on to be compared
Kind = Literal["difference", "mean difference", "ratio", "signed"]

Codes = Int[np.ndarray, " items"]
Tables = Int[np.ndarray, "*draws kinds groups"] | Float[np.ndarray, "*draws kinds groups"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rate:
    """A share of texts: "selected", "true positives" or "false positives" of `outcome`; "correct".

    `outcome` is the class that counts as yes (None for "correct", which has none).
    """

    name: Literal["selected", "true positives", "false positives", "correct"]
    outcome: int | None = None

    def __post_init__(self) -> None:
        if (self.outcome is None) != (self.name == "correct"):
            raise BadOption(f"{self.name}: a rate is of one class, unless it is that of the right")

    def among(self, truth: Codes) -> Bool[np.ndarray, " items"]:
        """Which texts it is a share of, by their true classes."""
        if self.name == "true positives":
            return np.asarray(truth == self.outcome)
        if self.name == "false positives":
            return np.asarray(truth != self.outcome)
        return np.ones(len(truth), dtype=bool)

    def yes(self, truth: Codes, said: Codes) -> Bool[np.ndarray, " items"]:
        """Which of those count."""
        hit = truth == said if self.outcome is None else said == self.outcome
        return np.asarray(hit & self.among(truth))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Metric:
    """One number that says how far groups are apart in one rate or several.

    kind: "difference" is the widest of all rates and views, "mean difference" the mean of the
    rates' widest, "ratio" the smallest rate over the largest, "signed" the first group less the
    second, mean over rates. Each of `views` names for every code of a group, or of a combination
    of groups, the place it has in that view. A group whose rate rests on under `fewest` texts is
    not compared in it.
    """

    rates: tuple[Rate, ...]
    kind: Kind
    views: tuple[Codes, ...]
    fewest: int = FEWEST

    def __post_init__(self) -> None:
        if self.kind == "signed" and any(view.max() != 1 for view in self.views):
            raise BadOption("a signed difference is between two groups")
        if self.fewest < 1:
            raise BadOption(f"a rate needs at least one text, got fewest = {self.fewest}")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Counted:
    """Texts counted by what a metric can tell apart: `kinds` of texts, and groups.

    A kind is a set of texts that every rate treats alike; what no rate counts is in none. Kinds of
    one of `strata` differ in what was said of them, not in which rates they are counted among.
    """

    metric: Metric
    table: Int[np.ndarray, "kinds groups"]
    among: Bool[np.ndarray, "rates kinds"]
    yes: Bool[np.ndarray, "rates kinds"]
    strata: Int[np.ndarray, " kinds"]
    views: tuple[Bool[np.ndarray, "_groups _places"], ...]

    @property
    def n(self) -> int:
        """How many texts it rests on."""
        return int(self.table.sum())

    def compared(self) -> list[tuple[int, int, Bool[np.ndarray, " places"]]]:
        """View, rate and the places that are compared, where there are two or more of them."""
        found = []
        for v, view in enumerate(self.views):
            sizes = self.among @ self.table @ view
            for r, row in enumerate(sizes >= self.metric.fewest):
                if row.sum() > 1:
                    found.append((v, r, row))
        return found

    def shares(self) -> list[tuple[Float[np.ndarray, " places"], Int[np.ndarray, " places"]]]:
        """Yes and sizes of the groups of each comparison; raises NotEnoughData without any."""
        found = []
        for v, r, row in self.compared():
            yes, sizes = (side[r] @ self.table @ self.views[v] for side in (self.yes, self.among))
            found.append((yes[row].astype(float), sizes[row]))
        if not found or (self.metric.kind == "signed" and len(found) < len(self.metric.rates)):
            raise NotEnoughData(
                f"no two groups have {self.metric.fewest} texts each that the rate is a share of"
            )
        return found


def counted(
    metric: Metric, truth: Codes, said: Codes, groups: Codes, also: Codes | None = None
) -> tuple[Counted, Int[np.ndarray, " decisions"]]:
    """Texts counted for a metric, and the kind of each decision (-1: of none).

    truth, said: true and predicted class; groups: code of the group. `also`: what another
    classifier said of the same texts, so that kinds tell that apart too; its decisions come last.
    """
    told = said if also is None else np.concatenate([said, also])
    true = truth if also is None else np.concatenate([truth, truth])
    pairs, place = np.unique(np.stack([true, told], axis=1), axis=0, return_inverse=True)
    among = np.stack([rate.among(pairs[:, 0]) for rate in metric.rates])
    yes = np.stack([rate.yes(pairs[:, 0], pairs[:, 1]) for rate in metric.rates])
    signs, kind = np.unique(np.concatenate([among, yes]), axis=1, return_inverse=True)
    used = signs[: len(among)].any(0)
    number = np.where(used, used.cumsum() - 1, -1)[kind.ravel()][place.ravel()]
    signs = signs[:, used]
    codes = max((len(view) for view in metric.views), default=0)
    views = tuple(_members(view) for view in metric.views)
    if len(views) == 1:  # groups that are not told apart are one
        groups, codes, views = (
            metric.views[0][groups],
            views[0].shape[1],
            (np.eye(views[0].shape[1], dtype=bool),),
        )
    table = np.zeros((signs.shape[1], codes), dtype=np.int64)
    own = number[: len(said)]
    np.add.at(table, (own[own >= 0], groups[own >= 0]), 1)
    _, strata = np.unique(signs[: len(among)], axis=1, return_inverse=True)
    found = Counted(
        metric=metric,
        table=table,
        among=signs[: len(among)],
        yes=signs[len(among) :],
        strata=strata.ravel(),
        views=views,
    )
    return found, number


def _members(view: Codes) -> Bool[np.ndarray, "groups places"]:
    return np.asarray(view[:, None] == np.arange(view.max() + 1))


def statistic(found: Counted, tables: Tables) -> Float[np.ndarray, "*draws"]:
    """The metric of other tables of the same kinds and groups; NaN where it has no value."""
    parts = []
    with np.errstate(invalid="ignore", divide="ignore"):
        for v, r, row in found.compared():
            yes = found.yes[r] @ tables @ found.views[v]
            shares = (yes / (found.among[r] @ tables @ found.views[v]))[..., row]
            parts.append(_apart(shares, found.metric.kind))
    values = np.stack(parts, axis=-1)
    if found.metric.kind == "difference":
        return np.asarray(values.max(-1))
    if found.metric.kind == "ratio":  # of a class that nobody gets there is none
        return np.asarray(np.fmin.reduce(values, axis=-1))
    return np.asarray(values.mean(-1))


def _apart(shares: Float[np.ndarray, "*draws places"], kind: Kind) -> Float[np.ndarray, "*draws"]:
    if kind == "signed":
        return np.asarray(shares[..., 0] - shares[..., 1])
    low, high = shares.min(-1), shares.max(-1)
    return np.asarray(low / high if kind == "ratio" else high - low)


def rest_of(group: int, view: Codes) -> Codes:
    """A view in which one group of another is the first, and all others are the second."""
    return np.where(view == group, 0, 1)


def odds(outcomes: Sequence[int]) -> tuple[Rate, ...]:
    """True and false positives of each outcome: what equalised odds are about."""
    return tuple(
        rate
        for outcome in outcomes
        for rate in (
            Rate(name="true positives", outcome=outcome),
            Rate(name="false positives", outcome=outcome),
        )
    )
