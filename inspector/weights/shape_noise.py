"""What noise of one exact shape gives for every spectral number, from draws of such noise."""

import dataclasses
from functools import cache

import numpy as np

from inspector.weights import noise, powerlaw, spectral

DRAWS = 40  # of small shapes; a quarter of it from 4096 on, where one draw takes 0.2 s
ALLOWED = 5.0  # standard deviations of the distance between spectrum and noise
DISTANCE, DISTANCE_STD = 3.7, 0.6  # of noise over the shorter side, where no draws are made


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShapeNoise:
    """Means over draws; alpha: median and range. Alpha is None where nothing was drawn.

    `distance` is that between a spectrum of noise and Marchenko-Pastur; beyond `distance_limit`
    a spectrum is not that of noise.
    """

    stable_rank: float
    participation: float
    effective_rank: float
    effective_rank_energy: float
    distance: float
    distance_limit: float
    alpha: float | None
    alpha_low: float | None
    alpha_high: float | None
    alpha_ks: float | None
    draws: int


@cache
def shape_noise(short: int, long: int, draws: bool = True) -> ShapeNoise:
    """Measures of noise of that shape: from seeded draws, or without them by closed forms."""
    if not draws:
        known = noise.reference(short, long)
        return ShapeNoise(
            **dataclasses.asdict(known),
            distance=DISTANCE / short,
            distance_limit=(DISTANCE + ALLOWED * DISTANCE_STD) / short,
            alpha=None,
            alpha_low=None,
            alpha_high=None,
            alpha_ks=None,
            draws=0,
        )
    rng = np.random.default_rng([short, long])
    count = max(DRAWS // 4, min(DRAWS, DRAWS * 1024 // short))
    drawn = [noise.draw(short, long, rng) for _ in range(count)]
    laws = [powerlaw.fit(np.square(singular)) for singular in drawn]
    alphas = np.array([law.alpha for law in laws])
    gaps = np.array(
        [noise.distance(s, short, long, noise.noise_std(s, short, long)) for s in drawn]
    )
    return ShapeNoise(
        stable_rank=float(np.mean([spectral.stable_rank(s) for s in drawn])),
        participation=float(np.mean([spectral.participation(s) for s in drawn])),
        effective_rank=float(np.mean([spectral.effective_rank(s) for s in drawn])),
        effective_rank_energy=float(np.mean([spectral.effective_rank_energy(s) for s in drawn])),
        distance=float(gaps.mean()),
        distance_limit=float(gaps.mean() + ALLOWED * gaps.std(ddof=1)),
        alpha=float(np.median(alphas)),
        alpha_low=float(alphas.min()),
        alpha_high=float(alphas.max()),
        alpha_ks=float(np.mean([law.ks for law in laws])),
        draws=count,
    )
