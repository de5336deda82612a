"""Permutation tests: flipped signs of clusters, groups shuffled, exact where that is feasible."""

import dataclasses
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.clusters import Totals, positions
from inspector.fairness.resampling import Statistic
from inspector.fairness.uncertainty import binomial_test

EXACT_FLIPS = 14  # clusters up to which all 2^m sign patterns are gone through
DRAWS = 9999
CHUNK = 4_000_000  # numbers of one block of draws
SAME = 1e-9  # relative difference under which two statistics are equal but for rounding


@dataclasses.dataclass(frozen=True, kw_only=True)
class PermutationTest:
    """A two-sided permutation test: how many rearrangements are as far out as what was seen.

    exact: all rearrangements were gone through, p is their share; else `arrangements` were drawn
    and p = (1 + as far) / (1 + drawn). `smallest_p`: what no result could have gone below.
    """

    p_value: float
    statistic: float
    exact: bool
    arrangements: int
    smallest_p: float
    expected: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Discordance:
    """Pairs whose preference changed between two models, and McNemar's exact p.

    `up`: from below to above zero; `down`: the reverse. `n_ties`: tied in one model or both.
    """

    p_value: float
    up: int
    down: int
    unchanged: int
    n_ties: int


def sign_flip(found: Totals, seed: int = 0, draws: int = DRAWS) -> PermutationTest:
    """Sign-flip test of a ratio against zero: each cluster's part above the line keeps its size.

    Exact over all 2^m patterns up to 14 clusters, else seeded draws with +1/+1. Valid where the
    clusters are independent and symmetric about zero under no bias; all zero gives exactly 1.
    Source: Fisher 1935; Phipson & Smyth 2010 for +1/+1.
    """
    parts = found.above[found.above != 0]  # a zero stays zero whatever its sign
    m = len(parts)
    observed = abs(float(parts.sum()))
    edge = observed - SAME * float(np.abs(parts).sum())
    if m <= EXACT_FLIPS:
        flipped = 2 * subset_sums(parts)[0] - parts.sum()
        p_value = float((np.abs(flipped) >= edge).mean())
    else:
        rng = np.random.default_rng(seed)
        far = 0
        for size in blocks(draws, m):
            signs = rng.integers(0, 2, (size, m), dtype=np.int8).astype(np.float64)
            far += int((np.abs(2 * (signs @ parts) - parts.sum()) >= edge).sum())
        p_value = (1 + far) / (1 + draws)
    return PermutationTest(
        p_value=p_value,
        statistic=found.value,
        exact=m <= EXACT_FLIPS,
        arrangements=2**m if m <= EXACT_FLIPS else draws,
        smallest_p=smallest_p(m, draws),
    )


def smallest_p(clusters: int, draws: int = DRAWS) -> float:
    """The smallest p a two-sided sign-flip test of so many clusters can give."""
    return min(1.0, 2.0 ** (1 - clusters)) if clusters <= EXACT_FLIPS else 1 / (1 + draws)


def subset_sums(
    values: Float[np.ndarray, " items"],
) -> tuple[Float[np.ndarray, " subsets"], Shaped[np.ndarray, " subsets"]]:
    """The sums of all 2^n subsets and their sizes."""
    sums, sizes = np.zeros(1), np.zeros(1, dtype=np.int8)
    for value in values:
        sums = np.concatenate([sums, sums + value])
        sizes = np.concatenate([sizes, sizes + np.int8(1)])
    return sums, sizes


def mcnemar(
    before: Float[np.ndarray, " before"], after: Float[np.ndarray, " after"]
) -> Discordance:
    """McNemar's exact test on which side each item prefers, before against after.

    before, after: signed gaps of the same items in the same order; 0 is a tie. Items tied in
    either are counted and not tested. No item changed: p is exactly 1. Source: McNemar 1947.
    """
    if before.shape != after.shape or not (np.isfinite(before) & np.isfinite(after)).all():
        raise BadOption(f"gaps must be finite and paired, got {before.size} and {after.size}")
    known = (before != 0) & (after != 0)
    up = int((known & (before < 0) & (after > 0)).sum())
    down = int((known & (before > 0) & (after < 0)).sum())
    return Discordance(
        p_value=binomial_test(up, up + down),
        up=up,
        down=down,
        unchanged=int(known.sum()) - up - down,
        n_ties=int(before.size - known.sum()),
    )


def group_test(
    outcomes: Float[np.ndarray, " items"],
    groups: Sequence[Hashable] | np.ndarray,
    statistic: Statistic,
    within: Sequence[Hashable] | np.ndarray | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> PermutationTest:
    """Permutation of group labels inside strata, for any one-sided size of the gaps.

    statistic: from means of shape (..., strata, groups), NaN where a cell has no items, to a size
    that grows with the gap, such as `gaps.widest`. `within`: labels of strata (the true class, for
    equalised odds; None: one stratum). p = (1 + as large) / (1 + draws). Tests that the outcome
    does not depend on the group inside any stratum.
    """
    names, group = positions(groups)
    strata, stratum = positions(np.zeros(len(outcomes)) if within is None else within)
    if len(names) < 2:
        raise NotEnoughData(f"a gap needs two groups, got {len(names)}")
    if not len(group) == len(stratum) == len(outcomes) or not np.isfinite(outcomes).all():
        raise BadOption("outcomes must be finite, with one group and one stratum each")
    sizes = np.zeros((len(strata), len(names)), dtype=np.int64)
    sums = np.zeros(sizes.shape)
    np.add.at(sizes, (stratum, group), 1)
    np.add.at(sums, (stratum, group), outcomes)

    def measured(sums: np.ndarray) -> np.ndarray:
        means = np.full(sums.shape, np.nan)
        np.divide(sums, sizes, out=means, where=sizes > 0)
        return np.asarray(statistic(means))

    observed = float(measured(sums))
    rng = np.random.default_rng(seed)
    far, summed = 0, 0.0
    for count in blocks(draws, len(outcomes)):
        parts = [
            _shuffled(rng, np.sort(outcomes[stratum == s]), sizes[s], count)
            for s in range(len(strata))
        ]
        drawn = measured(np.stack(parts, axis=1))
        far += int((drawn >= observed - SAME * max(1.0, abs(observed))).sum())
        summed += float(drawn.sum())
    return PermutationTest(
        p_value=(1 + far) / (1 + draws),
        statistic=observed,
        exact=False,
        arrangements=draws,
        smallest_p=1 / (1 + draws),
        expected=summed / draws,
    )


def _shuffled(
    rng: np.random.Generator,
    outcomes: Float[np.ndarray, " items"],
    sizes: Int[np.ndarray, " groups"],
    count: int,
) -> Float[np.ndarray, "count groups"]:
    """Sums of the groups with outcomes dealt out anew; yes and no need no shuffling of items."""
    if np.isin(outcomes, (0, 1)).all():
        dealt = rng.multivariate_hypergeometric(
            sizes, int(outcomes.sum()), count, method="marginals"
        )
        return dealt.astype(np.float64)
    shuffled = rng.permuted(np.tile(outcomes, (count, 1)), axis=1)
    running = np.concatenate([np.zeros((count, 1)), shuffled.cumsum(1)], axis=1)
    return np.diff(running[:, np.r_[0, np.cumsum(sizes)]], axis=1)


def blocks(draws: int, width: int) -> Iterator[int]:
    """Sizes of blocks of draws that together are all, of `width` numbers each."""
    step = max(1, CHUNK // max(1, width))
    for start in range(0, draws, step):
        yield min(step, draws - start)
