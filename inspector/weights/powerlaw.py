"""Power law of an eigenvalue tail: exponent alpha, where the tail begins, how far to trust it.

The tail's start is the one at which the Kolmogorov-Smirnov distance is least (Clauset, Shalizi &
Newman 2009), over all eigenvalues and with no lower cut, so that alpha does not move with scale;
on eigenvalues above 1e-5 these are the numbers of WeightWatcher 0.7.7 (Martin & Mahoney 2021).
"""

import dataclasses
import typing

import numpy as np
from jaxtyping import Float
from numba import njit

from inspector.errors import NotEnoughData

FEW = 20  # below it the estimate is corrected for its bias
SHORTEST_TAIL = 8  # of few eigenvalues
DROPS = (1, 2, 5)
CONFIDENCE = 0.95
EQUAL = 1e-5  # relative: eigenvalues nearer each other are those of an orthogonal matrix, rounded


@dataclasses.dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """Density of eigenvalues >= xmin falls as eigenvalue^-alpha; `tail` of them do.

    alpha > 1; `ks` in [0, 1], 0: a perfect power law.
    """

    alpha: float
    ks: float
    xmin: float
    tail: int


def fit(eigenvalues: Float[np.ndarray, " count"]) -> PowerLaw:
    """The power law of positive eigenvalues, in any order; raises NotEnoughData below 9 of them."""
    logs = _logs(eigenvalues)
    start, alpha, distance = _best(logs, len(logs) < FEW)
    if start < 0 or logs[-1] - logs[0] < EQUAL:
        raise NotEnoughData("All eigenvalues are equal: they have no tail.")
    return PowerLaw(
        alpha=alpha, ks=distance, xmin=float(np.exp(logs[start])), tail=len(logs) - start
    )


def dropped(eigenvalues: Float[np.ndarray, " count"]) -> dict[int, float | None]:
    """Alpha without the largest 1, 2 and 5 eigenvalues; None where too few are left."""
    ordered = np.sort(eigenvalues)
    alphas: dict[int, float | None] = {}
    for count in DROPS:
        try:
            alphas[count] = fit(ordered[:-count]).alpha
        except NotEnoughData:
            alphas[count] = None
    return alphas


def interval(
    eigenvalues: Float[np.ndarray, " count"], replicates: int, seed: int = 0
) -> tuple[float, float] | None:
    """Percentile bootstrap of alpha, the tail's start chosen anew in every replicate.

    None where no replicate drew eigenvalues that differ.
    Eigenvalues of one matrix repel each other, so this describes the fit and is no confidence
    interval of a population. Source: Efron 1979.
    """
    logs = _logs(eigenvalues)
    rng = np.random.default_rng(seed)
    alphas = np.empty(replicates)
    for i in range(replicates):
        chosen = np.sort(rng.integers(len(logs), size=len(logs), dtype=np.int32))
        alphas[i] = _best(logs[chosen], len(logs) < FEW)[1]
    alphas = alphas[np.isfinite(alphas)]
    if not len(alphas):
        return None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(alphas, [tail, 1 - tail])
    return float(low), float(high)


def _logs(eigenvalues: Float[np.ndarray, " count"]) -> Float[np.ndarray, " count"]:
    if len(eigenvalues) <= SHORTEST_TAIL or not eigenvalues.min() > 0:
        raise NotEnoughData(
            f"A power law needs more than {SHORTEST_TAIL} positive eigenvalues, not "
            f"{int((eigenvalues > 0).sum())}."
        )
    logs: np.ndarray = np.sort(np.log(eigenvalues))
    return logs


@typing.no_type_check
@njit(nogil=True, cache=True, fastmath=False)
def _best(logs, few):
    """(start, alpha, KS distance) of the tail that fits best; start -1 when there is none.

    A start is given up as soon as its distance passes the best one so far, so the scan, quadratic
    on paper, is nearly linear.
    """
    count = len(logs)
    best, best_score, best_alpha, best_distance = -1, np.inf, np.nan, np.nan
    sums = np.empty(count)
    total = 0.0
    for i in range(count - 1, -1, -1):
        total += logs[i]
        sums[i] = total
    last = count - SHORTEST_TAIL + 1 if few else count - 1
    for start in range(last):
        tail = count - start
        spread = sums[start] - tail * logs[start]
        if not spread > 0.0:
            continue
        slope = (tail - (1 if few else 0)) / spread
        allowance = 0.868 / np.sqrt(tail) if few else 0.0
        limit = best_score + allowance
        distance = 0.0
        # a coarse look first: most starts are far off somewhere in the middle
        stride = max(tail // 16, 1)
        for offset in range(stride):
            k = offset
            while k < tail:
                off = 1.0 - np.exp(slope * (logs[start] - logs[start + k])) - k / tail
                distance = max(distance, abs(off))
                k += stride
            if distance >= limit:
                break
        if distance - allowance < best_score:
            best, best_score = start, distance - allowance
            best_alpha, best_distance = 1.0 + slope, distance
    return best, best_alpha, best_distance
