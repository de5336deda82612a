"""One record for every number a probe prints: estimate, interval, test, counts, what n can show."""

import dataclasses
import math
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from jaxtyping import Float

from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.clusters import (
    Totals,
    effective_items,
    share_interval,
    smallest_gap,
    standard_error,
    totals,
)
from inspector.fairness.permutation import DRAWS, SAME, Discordance, mcnemar, sign_flip
from inspector.fairness.resampling import (
    MOST_UNDEFINED,
    RESAMPLES,
    Statistic,
    interval,
    ratio,
    resample,
)
from inspector.fairness.uncertainty import ALPHA, preference, wilson
from inspector.results import Estimate

Labels = Sequence[Hashable] | np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """A number against its value without bias: `null`.

    `inner`: the interval at confidence 1 - 2 alpha, which equivalence is read from. `p_value`:
    two-sided (None: not tested), never under `smallest_p`. `mde80`: the smallest distance from
    `null`, in the estimate's unit, that such data show with power 0.8 (None: none). `n_excluded`:
    items without a value. `expected`: what such data show on average without bias, where that is
    not `null`, as in a largest difference (None: it is).
    """

    estimate: Estimate
    inner: Estimate
    null: float
    p_value: float | None
    smallest_p: float
    test: str
    n_items: int
    n_clusters: int
    n_ties: int
    n_excluded: int
    mde80: float | None
    expected: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """After less before on the same items; `sides`: items whose preference changed sides.

    None where what is compared is no preference.
    """

    difference: Measured
    sides: Discordance | None


def measured_gap(
    values: Float[np.ndarray, " items"],
    clusters: Labels | None = None,
    weights: Float[np.ndarray, " items"] | None = None,
    equal: bool = False,
    seed: int = 0,
    alpha: float = ALPHA,
    unit: str = "nats",
    resamples: int = RESAMPLES,
    bounds: tuple[float, float] | None = None,
) -> Measured:
    """Mean signed value, or a ratio of sums, against 0, with the cluster as the unit.

    values: per item, NaN where there is none (excluded and counted). With `weights` the number is
    sum(values) / sum(weights). `equal`: clusters count alike. Bootstrap-t interval, sign-flip test;
    `bounds`: between which values lie, as in `resampling.interval`.
    """
    known = ~np.isnan(values)
    most = math.inf if bounds is None else max(-bounds[0], bounds[1])
    found = totals(
        values[known],
        _of(clusters, known),
        None if weights is None else weights[known],
        equal,
    )
    flipped = sign_flip(found, seed)
    drawn = resample(np.stack([found.above, found.below], axis=1), ratio, seed, resamples)
    return Measured(
        estimate=interval(drawn, 1 - alpha, unit, bounds, int(known.sum())),
        inner=interval(drawn, 1 - 2 * alpha, unit, bounds, int(known.sum())),
        null=0.0,
        p_value=flipped.p_value,
        smallest_p=flipped.smallest_p,
        test=_named(flipped.exact, len(found)),
        n_items=int(known.sum()),
        n_clusters=len(found),
        n_ties=int((values[known] == 0).sum()),
        n_excluded=int((~known).sum()),
        mde80=smallest_gap(drawn.error, len(found), alpha=alpha, most=most),
    )


def measured_share(
    gaps: Float[np.ndarray, " items"],
    clusters: Labels | None = None,
    seed: int = 0,
    alpha: float = ALPHA,
    unit: str = "share",
    equal: bool = False,
) -> Measured:
    """Share of items with a gap above zero against one half, ties one half, NaN excluded.

    Without clusters Wilson's interval and the exact sign test on the untied; with them Wilson's at
    the effective number of items, and sign flips of what each cluster has above less below.
    `equal`: clusters count alike, so that it is the mean of their shares.
    """
    alone = preference(gaps, 1 - alpha)
    known = ~np.isnan(gaps)
    if clusters is None:
        wins = alone.n_above + alone.n_ties / 2
        return Measured(
            estimate=dataclasses.replace(alone.share, unit=unit),
            inner=wilson(wins, alone.n_items, 1 - 2 * alpha, unit),
            null=0.5,
            p_value=alone.p_value,
            smallest_p=min(1.0, 2.0 ** (1 - min(1000, alone.n_items - alone.n_ties))),
            test="exact sign test",
            n_items=alone.n_items,
            n_clusters=alone.n_items,
            n_ties=alone.n_ties,
            n_excluded=alone.n_excluded,
            mde80=None if alone.mde80 is None else alone.mde80 - 0.5,
        )
    sides = np.sign(gaps[known])
    signed = totals(sides, _of(clusters, known), equal=equal)
    won = totals((1 + sides) / 2, _of(clusters, known), equal=equal)
    flipped = sign_flip(signed, seed)
    error = standard_error(won)
    effective = effective_items(won.value, error, len(won), won.n_items)
    return Measured(
        estimate=share_interval(won, 1 - alpha, unit),
        inner=share_interval(won, 1 - 2 * alpha, unit),
        null=0.5,
        p_value=flipped.p_value,
        smallest_p=flipped.smallest_p,
        test=_named(flipped.exact, len(signed)),
        n_items=alone.n_items,
        n_clusters=len(won),
        n_ties=alone.n_ties,
        n_excluded=alone.n_excluded,
        mde80=smallest_gap(0.5 / math.sqrt(effective), len(won), alpha=alpha, most=0.5),
    )


def measured_metric(
    rows: Float[np.ndarray, "clusters columns"],
    statistic: Statistic,
    null: float,
    n_items: int,
    n_excluded: int = 0,
    signed: Totals | None = None,
    bounds: tuple[float, float] | None = None,
    seed: int = 0,
    alpha: float = ALPHA,
    unit: str = "",
    resamples: int = RESAMPLES,
) -> Measured:
    """Any function of sums over clusters (s_DIS, s_AMB, icat) against its value without bias.

    rows, statistic, bounds: as in `resampling`. `signed`: what is flipped for the test,
    such as biased less unbiased answers by cluster; None: no test, `p_value` is None.
    """
    drawn = resample(rows, statistic, seed, resamples)
    most = math.inf if bounds is None else max(null - bounds[0], bounds[1] - null)
    flipped = None if signed is None else sign_flip(signed, seed)
    return Measured(
        estimate=interval(drawn, 1 - alpha, unit, bounds, n_items),
        inner=interval(drawn, 1 - 2 * alpha, unit, bounds, n_items),
        null=null,
        p_value=None if flipped is None else flipped.p_value,
        smallest_p=0.0 if flipped is None else flipped.smallest_p,
        test="none" if flipped is None else _named(flipped.exact, len(rows)),
        n_items=n_items,
        n_clusters=len(rows),
        n_ties=0,
        n_excluded=n_excluded,
        mde80=smallest_gap(drawn.error, len(rows), alpha=alpha, most=most),
    )


def change(
    before: Float[np.ndarray, " before"],
    after: Float[np.ndarray, " after"],
    clusters: Labels | None = None,
    equal: bool = False,
    seed: int = 0,
    alpha: float = ALPHA,
    unit: str = "nats",
    resamples: int = RESAMPLES,
    bounds: tuple[float, float] | None = None,
) -> Change:
    """After less before, item by item: never two separate intervals.

    before, after: signed gaps of the same items in the same order; an item without a value in
    either is excluded and counted. Identical models differ by exactly 0 with p exactly 1.
    `bounds`: between which differences lie.
    """
    if before.shape != after.shape:
        raise BadOption(f"before and after must be paired, got {before.size} and {after.size}")
    known = ~(np.isnan(before) | np.isnan(after))
    if not known.any():
        raise NotEnoughData(f"none of {before.size} items has a value before and after")
    difference = measured_gap(
        after - before, clusters, None, equal, seed, alpha, unit, resamples, bounds
    )
    return Change(difference=difference, sides=mcnemar(before[known], after[known]))


def exchanged(
    value: float,
    swapped: Float[np.ndarray, " draws"],
    resampled: Float[np.ndarray, " resamples"],
    n_items: int,
    n_excluded: int,
    what: str,
    inside: str,
    unit: str = "share",
    most: float = 1.0,
    reach: Callable[[float], float] | None = None,
    alpha: float = ALPHA,
) -> Change:
    """A metric of two models after less before, for `what` each item had of either.

    swapped: the same where for items at random the two are exchanged; resampled: of items drawn
    anew `inside` groups, for a basic bootstrap. Values that are undefined, NaN, count in neither;
    raises NotEnoughData for over 5 % of them among the resamples. `reach`: half the width at a
    confidence where all resamples are alike, though the two are not. `most`: see `smallest_gap`.
    """
    if not np.isfinite(value):
        raise NotEnoughData("the metric is undefined on these items, before or after")
    swapped, values = swapped[np.isfinite(swapped)], resampled[np.isfinite(resampled)]
    if len(resampled) - len(values) > MOST_UNDEFINED * len(resampled):
        lost = len(resampled) - len(values)
        raise NotEnoughData(f"the metric is undefined in {lost} of {len(resampled)} resamples")
    far = int((np.abs(swapped) >= abs(value) - SAME).sum())

    def interval(confidence: float) -> Estimate:
        low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
        if low == high and reach is not None:
            low, high = low - reach(confidence), high + reach(confidence)
        return Estimate(
            value=value,
            low=min(value, 2 * value - float(high)),
            high=max(value, 2 * value - float(low)),
            confidence=confidence,
            n=n_items,
            unit=unit,
            method=f"basic bootstrap, {len(values)} resamples inside {inside}",
        )

    difference = Measured(
        estimate=interval(1 - alpha),
        inner=interval(1 - 2 * alpha),
        null=0.0,
        p_value=(1 + far) / (1 + len(swapped)),
        smallest_p=1 / (1 + len(swapped)),
        test=f"{what} exchanged, {len(swapped)} draws",
        n_items=n_items,
        n_clusters=n_items,
        n_ties=0,
        n_excluded=n_excluded,
        mde80=smallest_gap(float(values.std()), n_items, alpha=alpha, most=most),
    )
    return Change(difference=difference, sides=None)


def _of(clusters: Labels | None, known: np.ndarray) -> Labels | None:
    if clusters is None:
        return None
    if len(clusters) != len(known):
        raise BadOption(f"{len(known)} items need as many cluster labels, got {len(clusters)}")
    return [label for label, kept in zip(clusters, known, strict=True) if kept]


def _named(exact: bool, clusters: int) -> str:
    how = f"exact over {clusters} clusters" if exact else f"{clusters} clusters, {DRAWS} draws"
    return f"sign-flip, {how}"
