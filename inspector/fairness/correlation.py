"""Correlation of a gap with something known of its targets, such as labour statistics."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.permutation import DRAWS, SAME
from inspector.fairness.resampling import RESAMPLES, interval, resample
from inspector.fairness.uncertainty import ALPHA
from inspector.results import Estimate

STILL = 1e-12  # of a side's largest value: a spread that only rounding can have made
MOST = 1 - 1e-9  # of |r| whose Fisher transform is finite


@dataclasses.dataclass(frozen=True, kw_only=True)
class Correlation:
    """Pearson's r of pairs, in [-1, 1], 0: no linear relation, with a permutation p."""

    r: Estimate
    p_value: float
    smallest_p: float
    n_pairs: int
    n_excluded: int


def correlation(
    one: Float[np.ndarray, " one"],
    other: Float[np.ndarray, " other"],
    seed: int = 0,
    alpha: float = ALPHA,
    draws: int = DRAWS,
    resamples: int = RESAMPLES,
) -> Correlation:
    """Pearson's r with a bootstrap-t interval on Fisher's scale and a two-sided permutation p.

    one, other: a value per pair; pairs where either is NaN are excluded and counted. The pair
    (an occupation, say) is the unit. p = (1 + #) / (1 + draws) of |r| with one side shuffled.
    """
    if one.shape != other.shape:
        raise BadOption(f"pairs are needed, got {one.size} and {other.size} values")
    known = ~(np.isnan(one) | np.isnan(other))
    x, y = one[known], other[known]
    if len(x) < 4:
        raise NotEnoughData(f"a correlation needs four pairs, got {len(x)}")
    sizes = [float(values.std()) for values in (x, y)]
    if any(size <= STILL * float(np.abs(v).max()) for size, v in zip(sizes, (x, y), strict=True)):
        raise NotEnoughData("one side is the same in all pairs: no correlation is defined")
    order = np.lexsort((y, x))  # so that the order of pairs is no seed
    x, y = ((v - v.mean()) / size for v, size in zip((x[order], y[order]), sizes, strict=True))
    rows = np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], axis=1)
    found = interval(resample(rows, _fisher, seed, resamples), 1 - alpha)
    rng = np.random.default_rng(seed)
    seen, far = abs(float(x @ y)), 0
    step = max(1, 4_000_000 // len(x))
    for start in range(0, draws, step):
        shuffled = rng.permuted(np.tile(y, (min(step, draws - start), 1)), axis=1)
        far += int((np.abs(shuffled @ x) >= seen - SAME * len(x)).sum())
    return Correlation(
        r=Estimate(
            value=float(np.clip(x @ y / len(x), -1, 1)),
            low=math.tanh(found.low),
            high=math.tanh(found.high),
            confidence=1 - alpha,
            n=len(x),
            unit="r",
            method=found.method.replace("clusters", "pairs"),
        ),
        p_value=(1 + far) / (1 + draws),
        smallest_p=1 / (1 + draws),
        n_pairs=len(x),
        n_excluded=int((~known).sum()),
    )


def pearson(sums: Float[np.ndarray, "... 6"]) -> Float[np.ndarray, "..."]:
    """Pearson's r from sums of 1, x, y, x^2, y^2 and xy; NaN where a side does not vary."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    one, other = n * xx - x * x, n * yy - y * y
    vary = (one > SAME * n * xx) & (other > SAME * n * yy)  # more than rounding leaves
    out = np.full(vary.shape, np.nan)
    size = np.sqrt(np.where(vary, one * other, 1))
    return np.asarray(np.divide(n * xy - x * y, size, out=out, where=vary))


def _fisher(sums: Float[np.ndarray, "... 6"]) -> Float[np.ndarray, "..."]:
    return np.asarray(np.arctanh(np.clip(pearson(sums), -MOST, MOST)))
