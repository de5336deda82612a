"""Do scorers agree? Rank correlations of their gaps on the same items, and where they part."""

import dataclasses
import itertools
import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int
from scipy.special import stdtrit

from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.clusters import positions, share_interval, totals
from inspector.fairness.measures import Labels
from inspector.fairness.uncertainty import CONFIDENCE, preference
from inspector.results import Estimate

BLOCK = 2_000_000  # pairs of items compared at once


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """Two scorers on the same items: Kendall's tau-b of their gaps, and the share on one side.

    `tau` in [-1, 1], 1: the same order (None: one of them is constant). `same_side`: items where
    both prefer the same sentence, a tie of either counting one half.
    """

    one: str
    other: str
    tau: Estimate | None
    same_side: Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
    """Scorers side by side: every pair, each one's share of preference, items they part on.

    `spread`: largest less smallest share over scorers. `disputed`: places, among the items given,
    where one scorer is above zero and another below. `n_excluded`: items without a value in some.
    """

    pairs: tuple[Pair, ...]
    shares: dict[str, Estimate]
    spread: float
    disputed: tuple[int, ...]
    n_items: int
    n_excluded: int


def scorer_panel(
    gaps: Mapping[str, Float[np.ndarray, " items"]],
    clusters: Labels | None = None,
    confidence: float = CONFIDENCE,
) -> Panel:
    """How scorers agree on the same items, with intervals by jackknife over clusters.

    gaps: per scorer the signed gap of every item, NaN where it has none: such items are left out
    for all. Clusters None: every item stands alone. The panel says whether the choice of scorer
    decides the result; it does not say which scorer is right.
    """
    names = list(gaps)
    sizes = {len(values) for values in gaps.values()}
    if len(names) < 2 or len(sizes) != 1:
        raise BadOption(f"a panel needs two scorers on the same items, got {names} with {sizes}")
    table = np.stack([gaps[name] for name in names])
    known = ~np.isnan(table).any(0)
    if known.sum() < 3:
        raise NotEnoughData(f"{int(known.sum())} items have a value in every scorer; 3 are needed")
    place = positions(np.arange(len(known)) if clusters is None else clusters)[1]
    if len(place) != len(known):
        raise BadOption(f"{len(known)} items need as many clusters, got {len(place)}")
    labels = positions(place[known])[1]
    used = table[:, known]
    pairs = []
    for i, j in itertools.combinations(range(len(names)), 2):
        same = (1 + np.sign(used[i]) * np.sign(used[j])) / 2
        pairs.append(
            Pair(
                one=names[i],
                other=names[j],
                tau=_interval(used[i], used[j], labels, confidence),
                same_side=share_interval(totals(same, labels), confidence),
            )
        )
    shares = {name: preference(used[i], confidence).share for i, name in enumerate(names)}
    values = [share.value for share in shares.values()]
    parted = known & (table > 0).any(0) & (table < 0).any(0)
    return Panel(
        pairs=tuple(pairs),
        shares=shares,
        spread=max(values) - min(values),
        disputed=tuple(int(i) for i in np.flatnonzero(parted)),
        n_items=int(known.sum()),
        n_excluded=int((~known).sum()),
    )


def kendall(one: Float[np.ndarray, " items"], other: Float[np.ndarray, " items"]) -> float | None:
    """Kendall's tau-b, in [-1, 1]; None where one of them is constant."""
    found = _interval(one, other, np.arange(len(one)), CONFIDENCE)
    return None if found is None else found.value


def _interval(
    one: Float[np.ndarray, " items"],
    other: Float[np.ndarray, " items"],
    labels: Int[np.ndarray, " items"],
    confidence: float,
) -> Estimate | None:
    """tau-b with a jackknife over clusters, symmetric on Fisher's scale."""
    whole, without = _counts(one, other, labels)
    value = float(_tau(whole))
    m = len(without)
    if not math.isfinite(value):
        return None
    left_out = _tau(without)
    low, high, told = value, value, f"jackknife over {m} clusters"
    if m < 2 or not np.isfinite(left_out).all():
        low, high, told = -1.0, 1.0, "no interval: without one cluster a scorer is constant"
    elif abs(value) < 1 - 1e-12:
        error = math.sqrt((m - 1) / m * float(((left_out - left_out.mean()) ** 2).sum()))
        half = float(stdtrit(m - 1, (1 + confidence) / 2)) * error / (1 - value**2)
        low, high = (math.tanh(math.atanh(value) + side * half) for side in (-1, 1))
    return Estimate(
        value=value,
        low=low,
        high=high,
        confidence=confidence,
        n=m,
        unit="tau-b",
        method=told,
    )


def _tau(counts: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "..."]:
    size = np.sqrt(counts[..., 1] * counts[..., 2])
    out = np.full(size.shape, np.nan)
    return np.asarray(np.divide(counts[..., 0], size, out=out, where=size > 0))


def _counts(
    one: Float[np.ndarray, " items"],
    other: Float[np.ndarray, " items"],
    labels: Int[np.ndarray, " items"],
) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, "clusters 3"]]:
    """Concordant less discordant pairs, untied pairs of each; of all, and without each cluster."""
    n, m = len(one), int(labels.max()) + 1
    touching, inside = np.zeros((m, 3)), np.zeros((m, 3))
    step = max(1, BLOCK // n)
    for start in range(0, n, step):
        part = slice(start, start + step)
        signs = [np.sign(v[part, None] - v[None]).astype(np.int8) for v in (one, other)]
        products = (signs[0] * signs[1], signs[0] ** 2, signs[1] ** 2)
        alike = labels[part, None] == labels[None]
        for k, product in enumerate(products):
            np.add.at(touching[:, k], labels[part], product.sum(1, dtype=np.int64))
            np.add.at(inside[:, k], labels[part], (product * alike).sum(1, dtype=np.int64))
    whole = touching.sum(0)
    return whole, whole - 2 * touching + inside
