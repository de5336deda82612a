"""Bootstrap over clusters, for any number that is a function of sums over clusters.

A resample draws whole clusters with replacement and sums anew, so that ratios (s_DIS of BBQ, icat
of StereoSet) are formed inside each resample.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtr, ndtri, stdtrit

from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.clusters import effective_interval
from inspector.fairness.uncertainty import CONFIDENCE
from inspector.results import Estimate

RESAMPLES = 9999
FEWEST = 999  # resamples, however many clusters there are
DRAWN = 4_000_000  # clusters drawn in all, from which on fewer resamples are made
CHUNK = 4_000_000  # numbers of one block of resamples: 32 MB
MOST_UNDEFINED = 0.05  # share of resamples in which a ratio may have nothing below the line
MOST_STILL = 0.005  # share of resamples without spread from which on their t is not used
STEP = 1e-5  # of a sum, for the gradient
ROUNDING = 1e-12  # of a variance's terms: what less than that is left of them is no variance

Statistic = Callable[[np.ndarray], np.ndarray]
"""From sums, shape (..., columns), to one number each, shape (...); NaN where undefined."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Resampled:
    """A statistic of clusters: its value, linearised standard error, and both in each resample."""

    value: float
    error: float
    clusters: int
    values: Float[np.ndarray, " resamples"]
    errors: Float[np.ndarray, " resamples"]
    left_out: Float[np.ndarray, " clusters"]

    def __len__(self) -> int:
        return len(self.values)


def ratio(sums: Float[np.ndarray, "... 2"]) -> Float[np.ndarray, "..."]:
    """First sum over second; NaN where the second is zero."""
    below = sums[..., 1]
    return np.asarray(
        np.divide(sums[..., 0], below, out=np.full(below.shape, np.nan), where=below > 0)
    )


def resample(
    rows: Float[np.ndarray, "clusters columns"],
    statistic: Statistic,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Resampled:
    """The statistic of the clusters and of resamples of them, each with its standard error.

    rows: what each cluster adds to each sum (a column of ones gives means). Standard errors by
    linearisation, with the m/(m - 1) correction. Seeded; the same rows in the same order give the
    same draws. Over 400 clusters fewer resamples are made, at least 999; `len` says how many.
    """
    m = len(rows)
    resamples = min(resamples, max(FEWEST, DRAWN // max(1, m)))
    if m < 2:
        raise NotEnoughData(f"an interval over clusters needs two of them, got {m}")
    if not np.isfinite(rows).all():
        raise BadOption("what clusters add must be finite")
    centre = rows.mean(0)
    apart = rows - centre  # squares about the mean: no cancellation
    one, other = np.triu_indices(rows.shape[1])
    columns = np.concatenate([rows, apart[:, one] * apart[:, other]], axis=1)
    steps = STEP * np.maximum(np.abs(rows).sum(0), 1e-300)

    def both(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = weights @ columns
        sums, squares = found[..., : len(centre)], found[..., len(centre) :]
        rise = slope(statistic, sums, steps)
        twice = np.where(one == other, 1, 2)
        shift = sums - m * centre
        product = shift[..., one] * shift[..., other] / m
        slopes = rise[..., one] * rise[..., other] * twice
        variance = (slopes * (squares - product)).sum(-1)
        size = (np.abs(slopes) * (np.abs(squares) + np.abs(product))).sum(-1)
        variance = np.where(variance > ROUNDING * size, variance, 0)
        errors = np.sqrt(variance * m / (m - 1))
        return np.asarray(statistic(sums)), np.asarray(errors)

    value, error = both(np.ones(m))
    if not math.isfinite(value):
        raise NotEnoughData("the metric is undefined on these items: nothing to divide by")
    drawn = [both(weights) for weights in _draws(m, resamples, seed)]
    return Resampled(
        value=float(value),
        error=float(error),
        clusters=m,
        values=np.concatenate([values for values, _ in drawn]),
        errors=np.concatenate([errors for _, errors in drawn]),
        left_out=np.asarray(statistic(rows.sum(0) - rows)),
    )


def interval(
    found: Resampled,
    confidence: float = CONFIDENCE,
    unit: str = "",
    bounds: tuple[float, float] | None = None,
    items: int | None = None,
    method: str = "t",
) -> Estimate:
    """Bootstrap-t interval ("t"; or "bca") of a statistic of clusters, with its means of escape.

    Where over 0.5 % of resamples have no spread (under five clusters, or nearly all alike) it is
    Student's, and for a metric with `bounds` Wilson's at the effective number of items (at most
    `items`, else clusters), for clusters that are all alike of the share of others: never of width
    zero there. Undefined resamples are counted in
    `method`; over 5 % of them raise. With 5 to 25 clusters bca misses 8 to 18 % at nominal 5, t
    5 to 7. Source: Hall 1988 (t); Efron 1987 (bca).
    """
    defined = np.isfinite(found.values) & np.isfinite(found.errors)
    lost = int((~defined).sum())
    if lost > MOST_UNDEFINED * len(found):
        raise NotEnoughData(f"the metric is undefined in {lost} of {len(found)} resamples")
    values, errors = found.values[defined], found.errors[defined]
    tiny = 1e-9 * max(found.error, 1e-6 * abs(found.value))
    still = errors <= tiny
    tail = (1 + confidence) / 2
    told, undefined = f"{len(found)} resamples", f" ({lost} undefined)" if lost else ""
    if found.error <= tiny or still.mean() > MOST_STILL:
        low, high, told = _without_resamples(found, confidence, bounds, items, tiny)
    elif method == "bca":
        left_out = found.left_out[np.isfinite(found.left_out)]
        low, high = bca(found.value, np.sort(values), left_out, confidence)
        told = f"bca, {told}"
    elif method == "t":
        t = (values[~still] - found.value) / errors[~still]
        low, high = (found.value - found.error * float(np.quantile(t, q)) for q in (tail, 1 - tail))
        told = f"bootstrap-t, {told}"
    else:
        raise BadOption(f"no interval {method!r} (known: t, bca)")
    least, most = bounds or (-math.inf, math.inf)
    return Estimate(
        value=found.value,
        low=max(least, min(low, found.value)),
        high=min(most, max(high, found.value)),
        confidence=confidence,
        n=found.clusters,
        unit=unit,
        method=f"{told}{undefined}, over {found.clusters} clusters",
    )


def bca(
    value: float,
    drawn: Float[np.ndarray, " resamples"],
    left_out: Float[np.ndarray, " units"],
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """Bias-corrected and accelerated ends from sorted resamples and leave-one-out values."""
    tolerance = 1e-12 * max(1.0, abs(value))
    below = (drawn < value - tolerance).mean() + (np.abs(drawn - value) <= tolerance).mean() / 2
    bias = float(ndtri(np.clip(below, 1 / len(drawn), 1 - 1 / len(drawn))))
    pull = left_out.mean() - left_out
    size = float((pull**2).sum())
    bend = float((pull**3).sum()) / (6 * size**1.5) if size > 0 else 0.0
    ends = []
    for tail in ((1 - confidence) / 2, (1 + confidence) / 2):
        z = bias + float(ndtri(tail))
        ends.append(float(np.quantile(drawn, ndtr(bias + z / (1 - bend * z)))))
    return min(ends[0], value), max(ends[1], value)


def slope(
    statistic: Statistic, sums: Float[np.ndarray, "... columns"], steps: np.ndarray
) -> Float[np.ndarray, "... columns"]:
    """Gradient of a statistic in each of its sums, by central differences of the given steps."""
    slopes = []
    for column, step in enumerate(steps):
        shift = np.zeros(len(steps))
        shift[column] = step
        slopes.append((statistic(sums + shift) - statistic(sums - shift)) / (2 * step))
    return np.stack(slopes, axis=-1)


def _draws(m: int, resamples: int, seed: int) -> Iterator[Int[np.ndarray, "resamples clusters"]]:
    """How often each cluster is drawn in each resample, in blocks of bounded size."""
    step = max(1, CHUNK // m)
    if resamples <= step:
        yield _block(m, resamples, seed)
        return
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, step):
        yield rng.multinomial(m, np.full(m, 1 / m), min(step, resamples - start))


@functools.lru_cache(maxsize=2)  # leaving out one template after another asks for the same draws
def _block(m: int, resamples: int, seed: int) -> Int[np.ndarray, "resamples clusters"]:
    drawn = np.random.default_rng(seed).multinomial(m, np.full(m, 1 / m), resamples)
    drawn.flags.writeable = False
    return drawn


def _without_resamples(
    found: Resampled,
    confidence: float,
    bounds: tuple[float, float] | None,
    items: int | None,
    tiny: float,
) -> tuple[float, float, str]:
    if bounds is None:
        half = float(stdtrit(found.clusters - 1, (1 + confidence) / 2)) * found.error
        told = "student's t" if found.error > tiny else "no variation"
        return found.value - half, found.value + half, told
    least, span = bounds[0], bounds[1] - bounds[0]
    share = min(1.0, max(0.0, (found.value - least) / span))
    items = items or found.clusters
    if found.error > tiny:
        low, high, effective = effective_interval(
            share, found.error / span, found.clusters, items, confidence
        )
    else:  # as many as that could be unlike all that were seen, as far away as there is anything
        _, unlike, effective = effective_interval(0.0, 0.0, found.clusters, items, confidence)
        low, high = share * (1 - unlike), share + (1 - share) * unlike
    return least + span * low, least + span * high, f"wilson at {effective:.1f} effective items"
