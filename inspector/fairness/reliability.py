"""Whether probabilities come true in each group, beside what chance alone gives."""

import dataclasses
from typing import Final

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import ndtri

from inspector.errors import NotEnoughData
from inspector.fairness.clusters import smallest_gap, student
from inspector.fairness.gaps import widest
from inspector.fairness.group_rates import FEWEST, Codes
from inspector.fairness.measures import Change, Measured, exchanged
from inspector.fairness.permutation import DRAWS, blocks, group_test
from inspector.fairness.uncertainty import ALPHA, CONFIDENCE
from inspector.results import Estimate

BINS: Final = 10
SIMULATIONS: Final = 999
DEALT: Final = 5_000_000  # texts dealt out anew in all, from which on fewer draws are made

Forecasts = Float[np.ndarray, " items"]
Events = Bool[np.ndarray, " items"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bin:
    """Forecasts of one tenth of the range: how many, their mean, and how often they came true."""

    low: float
    high: float
    n: int
    forecast: float
    came_true: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reliability:
    """How well forecasts come true. `excess`: mean forecast less share that came true.

    Its interval is Student's, 0 ideal, as though at least one text came out wrong. `error`: the
    expected calibration error, the mean over forecasts of how far their bin's mean is from its
    share; `error_by_chance`: its mean if each forecast were the true probability, `error_p` the
    share of such draws as far out.
    """

    n: int
    excess: Estimate
    error: float
    error_by_chance: float
    error_p: float
    bins: tuple[Bin, ...]


def reliability(forecasts: Forecasts, events: Events, seed: int = 0) -> Reliability:
    """Bins of equal width, the expected calibration error, and what it is without any.

    forecasts: in [0, 1]; events: whether each came true. Source: Naeini, Cooper and Hauskrecht
    2015 for the error; its mean under perfect calibration by draws, as it is never zero.
    """
    n = len(forecasts)
    if n < 2:
        raise NotEnoughData(f"calibration needs two texts, got {n}")
    place = np.minimum((forecasts * BINS).astype(int), BINS - 1)
    sizes = np.bincount(place, minlength=BINS)
    sums = np.bincount(place, forecasts, minlength=BINS)
    rng = np.random.default_rng(seed)
    drawn: list[float] = []
    for rows in blocks(SIMULATIONS, n):
        came = (rng.random((rows, n)) < forecasts).astype(float)
        drawn += [_error(np.bincount(place, one, minlength=BINS), sums, n) for one in came]
    came_true = np.bincount(place, events.astype(float), minlength=BINS)
    error = _error(came_true, sums, n)
    return Reliability(
        n=n,
        excess=_excess(forecasts - events),
        error=error,
        error_by_chance=float(np.mean(drawn)),
        error_p=(1 + sum(one >= error - 1e-12 for one in drawn)) / (1 + len(drawn)),
        bins=tuple(
            Bin(
                low=b / BINS,
                high=(b + 1) / BINS,
                n=int(sizes[b]),
                forecast=float(sums[b] / sizes[b]),
                came_true=float(came_true[b] / sizes[b]),
            )
            for b in np.flatnonzero(sizes)
        ),
    )


def _excess(residuals: Forecasts) -> Estimate:
    n, error = len(residuals), _square_error(residuals) ** 0.5
    told = f"t over {n} texts"
    return student(float(residuals.mean()), error, n - 1, CONFIDENCE, n, "share", told)


def _error(came_true: np.ndarray, forecast: np.ndarray, n: int) -> float:
    return float(np.abs(came_true - forecast).sum() / n)


def measured_calibration_gap(
    forecasts: Forecasts,
    events: Events,
    groups: Codes,
    n_excluded: int = 0,
    fewest: int = FEWEST,
    seed: int = 0,
    alpha: float = ALPHA,
    draws: int = DRAWS,
) -> Measured:
    """Widest difference between groups in mean forecast less share that came true.

    Groups of under `fewest` texts are not compared. Test: groups shuffled among all texts, so it
    is one of any difference in the residuals' law; over 500 texts with fewer draws, at least 999.
    Interval: Welch's for pairs, normal, with Bonferroni's correction, as though at least one text
    of each group came out wrong.
    """
    kept = _compared(groups, fewest)
    residuals, of = (forecasts - events)[kept], groups[kept]
    parts = [residuals[of == name] for name in np.unique(of)]
    means = np.array([part.mean() for part in parts])
    squares = np.array([_square_error(part) for part in parts])
    draws = min(draws, max(SIMULATIONS, DEALT // len(of)))
    test = group_test(residuals, of, widest, seed=seed, draws=draws)
    pairs = len(parts) * (len(parts) - 1) // 2
    value = float(np.ptp(means))

    def interval(level: float) -> Estimate:
        z = float(ndtri(1 - (1 - level) / (2 * pairs)))
        apart = np.abs(means[:, None] - means)
        reach = z * np.sqrt(squares[:, None] + squares)
        off = ~np.eye(len(parts), dtype=bool)
        return Estimate(
            value=value,
            low=max(0.0, float((apart - reach)[off].max())),
            high=min(2.0, float((apart + reach)[off].max())),
            confidence=level,
            n=len(residuals),
            unit="share",
            method=f"welch, simultaneous over {pairs} comparisons",
        )

    two = np.sort(squares)[-2:].sum()
    return Measured(
        estimate=interval(1 - alpha),
        inner=interval(1 - 2 * alpha),
        null=0.0,
        p_value=test.p_value,
        smallest_p=test.smallest_p,
        test=f"groups shuffled, {draws} draws",
        n_items=len(residuals),
        n_clusters=len(residuals),
        n_ties=0,
        n_excluded=n_excluded + int((~kept).sum()),
        mde80=smallest_gap(float(two**0.5), len(residuals), alpha=alpha, tests=pairs, most=2.0),
        expected=test.expected,
    )


def changed_calibration_gap(
    before: tuple[Forecasts, Events],
    after: tuple[Forecasts, Events],
    groups: Codes,
    n_excluded: int = 0,
    fewest: int = FEWEST,
    seed: int = 0,
    alpha: float = ALPHA,
    draws: int = DRAWS,
) -> Change:
    """The same after less before, on the same texts: exchanged text by text, basic bootstrap.

    The same forecasts differ by exactly 0, with p exactly 1.
    """
    kept = _compared(groups, fewest)
    old, new = (np.asarray((side[0] - side[1])[kept]) for side in (before, after))
    of = groups[kept]
    member = (of[:, None] == np.unique(of)).astype(float)
    sizes = member.sum(0)

    def gap(sums: Float[np.ndarray, "*draws groups"]) -> Float[np.ndarray, "*draws"]:
        return np.asarray(np.ptp(sums / sizes, axis=-1))

    rng = np.random.default_rng(seed)
    swapped, drawn = [], []
    for size in blocks(draws, len(of)):
        moved = (rng.random((size, len(of))) < 0.5) * (old - new) @ member
        swapped.append(gap(new @ member + moved) - gap(old @ member - moved))
    for size in blocks(SIMULATIONS, len(of)):
        weights = np.zeros((size, len(of)))
        for column in member.T.astype(bool):
            n = int(column.sum())
            weights[:, column] = rng.multinomial(n, np.full(n, 1 / n), size)
        drawn.append(gap(weights * new @ member) - gap(weights * old @ member))
    return exchanged(
        float(gap(new @ member) - gap(old @ member)),
        np.concatenate(swapped),
        np.concatenate(drawn),
        n_items=len(of),
        n_excluded=n_excluded + int((~kept).sum()),
        what="forecasts",
        inside="groups",
        most=2.0,
        alpha=alpha,
    )


def _square_error(residuals: Forecasts) -> float:
    """Squared standard error of a mean residual; at least what one text decided wrongly gives.

    Where all forecasts came true, few texts say little of how often such do not.
    """
    n = len(residuals)
    squares = float(((residuals - residuals.mean()) ** 2).sum())
    return max(squares, 1.0) / (n - 1) / n


def _compared(groups: Codes, fewest: int) -> Events:
    """Which texts are of a group that has enough of them; raises NotEnoughData unless two have."""
    names, sizes = np.unique(groups, return_counts=True)
    enough = names[sizes >= max(2, fewest)]
    if len(enough) < 2:
        raise NotEnoughData(f"no two groups have {fewest} texts each")
    return np.isin(groups, enough)
