"""What rounding does to a Gaussian matrix of the same shape: the reference beside every error.

Closed form where one scale serves many values, else the mean over a fixed sample; where the grid
does not move with the values, over evenly spaced quantiles of a Gaussian of the same size.
"""

import math
from functools import cache, lru_cache

import numpy as np
from jaxtyping import Float
from scipy.integrate import quad
from scipy.special import log_ndtr, ndtri

from inspector.weights.grids import GRIDS, Grid, round_to

SAMPLE = 2**20  # values: the reference is then certain to about 0.01 dB
QUANTILES = 2**16


def noise_energy(grid: Grid, rows: int, columns: int, rms: float) -> float:
    """Expected energy of the error over that of the values, of N(0, rms²) of this shape."""
    if grid.kind == "symmetric" and grid.span in ("row", "tensor"):
        count = columns if grid.span == "row" else rows * columns
        return _widest_square(count) / (12 * grid.top**2)
    if grid.span in ("none", "tensor"):
        return _elementwise(grid.name, rms, rows * columns)
    # these scales are powers of two, or numbers of a float format relative to the whole
    scale = rms if grid.scaling == "power of two" else 1.0
    count = rows * columns if grid.scaling == "E4M3" else 0
    width = min(grid.group or columns, columns)
    rest = columns % width
    full = _grouped(grid.name, width, scale, count)
    if not rest:
        return full
    short = _grouped(grid.name, rest, scale, count)
    return ((columns - rest) * full + rest * short) / columns


@cache
def _widest_square(count: int) -> float:
    """E[max |z|²] of `count` independent standard normal values."""

    def beyond(t: float) -> float:  # P(max |z| > t) = 1 - (1 - 2 Q(t))^count
        tail = 2 * math.exp(float(log_ndtr(-t)))
        return 2 * t * -math.expm1(count * math.log1p(-tail)) if tail < 1 else 2 * t

    middle = widest(count)
    return float(sum(quad(beyond, *ends)[0] for ends in ((0, middle), (middle, middle + 12))))


@cache
def widest(count: int) -> float:
    """Median of max |z| of `count` standard normal values: Phi^-1((1 + 2^(-1/count)) / 2)."""
    return float(-ndtri(-math.expm1(-math.log(2) / count) / 2))


@lru_cache(maxsize=4096)
def _elementwise(name: str, rms: float, count: int) -> float:
    grid = GRIDS[name]
    values = (_quantiles() * rms).astype(np.float32)
    peak = widest(count) * rms if grid.span == "tensor" else None
    return round_to(grid, values[None, :], peak).energy / _energy(values)


@lru_cache(maxsize=4096)
def _grouped(name: str, width: int, rms: float, count: int) -> float:
    sample = (_sample() * np.float32(rms))[: SAMPLE // width * width].reshape(-1, width)
    peak = widest(count) * rms if count else None
    return round_to(GRIDS[name], sample, peak).energy / _energy(sample)


@cache
def _quantiles() -> Float[np.ndarray, " n"]:
    return np.asarray(ndtri((np.arange(QUANTILES) + 0.5) / QUANTILES))


@cache
def _sample() -> Float[np.ndarray, " n"]:
    return np.random.default_rng(0).standard_normal(SAMPLE, dtype=np.float32)


def _energy(values: Float[np.ndarray, "..."]) -> float:
    return float(np.square(values, dtype=np.float64).sum())
