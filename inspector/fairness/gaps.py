"""Gaps between groups: the widest difference, what chance alone gives, intervals, one test."""

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.special import bdtr, ndtri

from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.clusters import positions
from inspector.fairness.resampling import RESAMPLES, Statistic, bca
from inspector.fairness.uncertainty import CONFIDENCE, score_interval, wilson
from inspector.results import Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gap:
    """The widest difference between groups' shares, beside what groups without one would show.

    `gap`: largest less smallest share, in [0, 1], 0: none; `ratio`: smallest over largest (None:
    the largest is 0). `null_mean`: expected gap if all groups had the pooled share.
    """

    gap: Estimate
    ratio: float | None
    null_mean: float
    highest: Hashable
    lowest: Hashable
    shares: tuple[Estimate, ...]
    groups: tuple[Hashable, ...]


def widest(means: Float[np.ndarray, "... strata groups"]) -> Float[np.ndarray, "..."]:
    """Largest difference between groups in any stratum; a stratum with one group has none.

    With one stratum it is the demographic parity difference; with the true class as stratum the
    equalised odds difference, max of the gaps in TPR and FPR.
    """
    lowest = np.where(np.isnan(means), np.inf, means).min(-1)
    highest = np.where(np.isnan(means), -np.inf, means).max(-1)
    return np.asarray(np.maximum(highest - lowest, 0).max(-1))


def share_gap(
    outcomes: Float[np.ndarray, " items"],
    groups: Sequence[Hashable] | np.ndarray,
    expected: Sequence[Hashable] | None = None,
    confidence: float = CONFIDENCE,
    unit: str = "share",
) -> Gap:
    """Largest less smallest share of yes among groups, with the gap that chance alone gives.

    outcomes: 0 or 1 per item. `expected`: the groups there should be; one without items raises.
    The interval holds for all pairs at once (Newcombe's from Wilson's, Bonferroni over pairs):
    a plain bootstrap of a maximum never reaches zero. Test with `permutation.group_test`.
    """
    if not np.isin(outcomes, (0, 1)).all() or len(outcomes) != len(groups):
        raise BadOption("outcomes must be 0 or 1, with one group each")
    names, group = positions(groups)
    missing = [name for name in (expected or ()) if name not in names]
    if missing or len(names) < 2:
        raise NotEnoughData(f"a gap needs items of two groups and all expected; none of {missing}")
    sizes = np.bincount(group)
    yes = np.bincount(group, outcomes)
    shares = yes / sizes
    top, bottom = int(shares.argmax()), int(shares.argmin())
    low, high = _all_pairs(yes, sizes, confidence)
    return Gap(
        gap=Estimate(
            value=float(shares[top] - shares[bottom]),
            low=low,
            high=high,
            confidence=confidence,
            n=len(outcomes),
            unit=unit,
            method=f"newcombe, simultaneous over {len(names)} groups",
        ),
        ratio=float(shares[bottom] / shares[top]) if shares[top] > 0 else None,
        null_mean=null_gap(sizes, float(yes.sum() / sizes.sum())),
        highest=names[top],
        lowest=names[bottom],
        shares=tuple(
            wilson(float(k), int(n), confidence, unit) for k, n in zip(yes, sizes, strict=True)
        ),
        groups=tuple(names),
    )


def null_gap(sizes: Sequence[int] | Int[np.ndarray, " groups"], share: float) -> float:
    """Expected largest less smallest share when all groups have the same true share; exact.

    Groups of 50 at one half: 0.079, 0.164, 0.217 for 2, 5, 10 groups. An empty group raises.
    Formula: the integral over x of 1 - prod F_g(x) - prod (1 - F_g(x)), F_g binomial.
    """
    sizes = np.asarray(sizes)
    if len(sizes) < 2 or not (sizes > 0).all() or not 0 <= share <= 1:
        raise NotEnoughData(f"a gap needs two groups, none empty, got sizes {sizes.tolist()}")
    steps = np.unique(np.concatenate([np.arange(n + 1) / n for n in set(sizes.tolist())]))
    # at each step the successes within it, rounded against 0.1 * 30 = 3.0000000000000004
    under = np.array([bdtr(np.floor(steps[:-1] * n + 1e-9), n, share) for n in sizes])
    inside = 1 - under.prod(0) - (1 - under).prod(0)
    return float((inside * np.diff(steps)).sum())


def stratified_bootstrap(
    values: Float[np.ndarray, " items"],
    strata: Sequence[Hashable] | np.ndarray,
    statistic: Statistic,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    unit: str = "",
) -> Estimate:
    """BCa interval of any smooth function of the strata's means, resampled inside each stratum.

    statistic: from means of shape (..., strata), strata sorted by their text, to one number each;
    a stratum may be a group, or a group and a true class. For signed gaps, averages and ratios;
    not for a maximum over groups, where `share_gap` has an interval that holds.
    """
    names, stratum = positions(strata)
    sizes = np.bincount(stratum)
    if len(values) != len(stratum) or not np.isfinite(values).all():
        raise BadOption("values must be finite, with one stratum each")
    if (sizes < 2).any():
        raise NotEnoughData(f"each stratum needs two items, got {sizes.tolist()} for {names}")
    parts = [np.sort(values[stratum == s]) for s in range(len(names))]
    rng = np.random.default_rng(seed)
    drawn = np.stack([_means(rng, part, resamples) for part in parts], axis=-1)
    means = np.array([part.mean() for part in parts])
    value = float(statistic(means))
    found = np.sort(statistic(drawn))
    if not (np.isfinite(value) and np.isfinite(found).all()):
        raise NotEnoughData("the metric is undefined on these items or on a resample of them")
    pulled = np.concatenate(
        [_pulls(part, means, s, statistic, value) for s, part in enumerate(parts)]
    )
    low, high = bca(value, found, value - pulled, confidence)
    return Estimate(
        value=value,
        low=low,
        high=high,
        confidence=confidence,
        n=len(values),
        unit=unit,
        method=f"bca in {len(names)} strata, {resamples} resamples",
    )


def _means(
    rng: np.random.Generator, part: Float[np.ndarray, " items"], resamples: int
) -> Float[np.ndarray, " resamples"]:
    if np.isin(part, (0, 1)).all():  # the same law, without an array of items by resamples
        return rng.binomial(len(part), part.mean(), resamples) / len(part)
    step = max(1, 4_000_000 // len(part))
    blocks = [min(step, resamples - start) for start in range(0, resamples, step)]
    return np.concatenate(
        [part[rng.integers(0, len(part), (size, len(part)))].mean(1) for size in blocks]
    )


def _pulls(
    part: Float[np.ndarray, " items"],
    means: Float[np.ndarray, " strata"],
    s: int,
    statistic: Statistic,
    value: float,
) -> Float[np.ndarray, " items"]:
    """What each item of a stratum pulls the statistic by: (n - 1) (value - value without it)."""
    n = len(part)
    without = np.tile(means, (n, 1))
    without[:, s] = (means[s] * n - part) / (n - 1)
    return np.asarray((n - 1) * (value - statistic(without)))


def _all_pairs(
    yes: Float[np.ndarray, " groups"], sizes: Int[np.ndarray, " groups"], confidence: float
) -> tuple[float, float]:
    """Range of the largest difference, each pair's at a level that makes all of them hold."""
    pairs = len(sizes) * (len(sizes) - 1) / 2
    z = float(ndtri(1 - (1 - confidence) / (2 * pairs)))
    shares = yes / sizes
    ends = [score_interval(float(p), int(n), z) for p, n in zip(shares, sizes, strict=True)]
    lows, highs = [], []
    for i in range(len(shares)):
        for j in range(len(shares)):
            if i != j:
                gap = shares[i] - shares[j]
                down = np.hypot(shares[i] - ends[i][0], ends[j][1] - shares[j])
                up = np.hypot(ends[i][1] - shares[i], shares[j] - ends[j][0])
                lows.append(gap - down)
                highs.append(gap + up)
    return max(0.0, float(max(lows))), min(1.0, float(max(highs)))
