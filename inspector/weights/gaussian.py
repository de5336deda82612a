"""What pruning takes from Gaussian matrices: the reference beside every number about pruning."""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from jaxtyping import Float
from scipy.integrate import quad
from scipy.special import bdtr, erf, erfinv, gammainc, gammaincinv

WIDEST = 20.0  # standard deviations beyond which a Gaussian has no weight in float64


def energy_below(threshold: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Fraction of a Gaussian's energy in |x| below a threshold in standard deviations.

    S - 2 t phi(t), where S = 2 Phi(t) - 1 is the fraction of values there; as the chi-square
    distribution with three degrees of freedom, in which nothing cancels.
    """
    return np.asarray(gammainc(1.5, threshold**2 / 2))


def threshold_of(sparsity: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """The |x|, in standard deviations, that a fraction of a Gaussian's values is below."""
    return np.asarray(np.sqrt(2) * erfinv(sparsity))


def energy_lost(sparsity: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Fraction of the energy that magnitude pruning takes from a Gaussian; 0.0713 at one half."""
    return energy_below(threshold_of(sparsity))


def sparsity_losing(share: float) -> float:
    """The sparsity at which a Gaussian loses this share of its energy; 0.2653 at one per cent."""
    return float(erf(np.sqrt(gammaincinv(1.5, share))))


@cache
def pattern_cost(keep: int, group: int) -> float:
    """Fraction of a Gaussian's energy lost by keeping the `keep` largest of each `group`.

    2:4 costs 0.1324 and 4:8 0.1033. A value is lost when at most group - keep - 1 of the others
    in its group are smaller (order statistics).
    """

    def lost(x: float) -> float:
        smaller = math.erf(x / math.sqrt(2))
        density = 2 * math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
        return x**2 * density * float(bdtr(group - keep - 1, group - 1, smaller))

    return float(quad(lost, 0, WIDEST, epsabs=1e-12, limit=200)[0])


def mixed_energy_lost(
    counts: Sequence[int], energies: Sequence[float], sparsities: Sequence[float]
) -> Float[np.ndarray, " points"]:
    """Energy lost by one threshold from Gaussian matrices of these sizes and sums of squares.

    What differing scales alone make of a global threshold; as `energy_lost` where all
    scales are the same. Matrices of zeros count as weights that cost nothing.
    """
    n, energy = np.array(counts, dtype=np.float64), np.array(energies, dtype=np.float64)
    alive = energy > 0
    std = np.sqrt(energy[alive] / n[alive])
    weights, total = n[alive], n.sum()

    def below(log_threshold: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
        scaled = np.exp(log_threshold)[:, None] / std
        inside = erf(scaled / math.sqrt(2)) @ weights
        return np.asarray((total - weights.sum() + inside) / total)

    wanted = np.array(sparsities, dtype=np.float64)
    low = np.full(len(wanted), math.log(std.min()) - 45)  # where fewer than 1e-19 are below
    high = np.full(len(wanted), math.log(std.max() * WIDEST))
    for _ in range(60):
        middle = (low + high) / 2
        enough = below(middle) >= wanted
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    lost = energy_below(np.exp(high)[:, None] / std) @ energy[alive]
    return np.asarray(np.where(wanted < 1, lost / energy.sum(), 1.0))
