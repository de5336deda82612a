"""Rank of the difference of two matrices, read against what rounding alone would give."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from inspector.weights import noise, spectral

RANK_SHARE = 0.99  # of the energy
FEW = 0.25  # of all directions: a difference of no more is called low-rank
MOST = 0.85  # of the energy, where the rest may be rounding; what training leaves above the
# rounding of BF16 held 0.81 at most (all-MiniLM-L6-v2, 20 steps)
EXCESS = 1.2  # times the energy that rounding gives is still rounding
# Singular values below this share of the largest, times sqrt(longer side), are rounding of ours.
OWN_ROUNDING = math.sqrt(np.finfo(np.float64).eps)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeltaSpectrum:
    """Singular values of a difference, read against what rounding alone would give.

    `rank` counts those beyond what rounding can reach, `energy` is their share of the squared
    norm; `rank_99` counts those that carry 99 % of it. `explained`: what is left below is no more
    than rounding. `rows` and `columns` are those of the matrix.
    """

    rows: int
    columns: int
    stable_rank: float | None
    rank: int
    rank_99: int
    energy: float
    explained: bool

    @property
    def few(self) -> bool:
        """Whether few directions stand out."""
        return 0 < self.rank <= FEW * min(self.rows, self.columns)

    @property
    def low_rank(self) -> bool:
        """Whether few directions carry all of the difference but a little rounding."""
        return self.few and self.energy >= (MOST if self.explained else RANK_SHARE)


def unevenness(
    row_sums: Float[np.ndarray, " rows"], column_sums: Float[np.ndarray, " columns"]
) -> float:
    """How much further rounding noise reaches than if all steps were their root mean square.

    At least 1. From sums of squared steps: the largest singular value of noise of uneven size is
    bounded by sqrt(largest row sum) + sqrt(largest column sum), which for even noise is the edge.
    Source: Bandeira & van Handel 2016. Trained matrices have 1.1 to 4.2 (all-MiniLM-L6-v2, F32).
    """
    rows, columns = len(row_sums), len(column_sums)
    even = math.sqrt(float(row_sums.mean())) + math.sqrt(float(column_sums.mean()))
    most = math.sqrt(float(row_sums.max())) + math.sqrt(float(column_sums.max()))
    return most / even if rows and columns and 0 < even < math.inf else 1.0


def delta_spectrum(
    singular: Float[np.ndarray, " rank"],
    rows: int,
    columns: int,
    rounding: float,
    uneven: float = 1.0,
) -> DeltaSpectrum:
    """Ranks of a difference from its singular values; `rounding` is what rounding adds.

    In units of the entries: a standard deviation, kept fixed, and an upper bound. One fitted to
    the difference's own spectrum is far too small in bf16, and calls a rank of 8 one of 18 to 181.
    `uneven` is how much further it reaches where steps differ from row to row (see unevenness).
    """
    energy = np.square(singular)
    total = float(energy.sum())
    if not total:
        return DeltaSpectrum(
            rows=rows,
            columns=columns,
            stable_rank=None,
            rank=0,
            rank_99=0,
            energy=0.0,
            explained=True,
        )
    own = singular[0] * OWN_ROUNDING * math.sqrt(max(rows, columns))
    reach = noise.threshold(rows, columns, rounding * uneven)
    beyond, fewer = (int((singular > max(by * reach, own)).sum()) for by in (1.0, math.sqrt(2)))
    rest = total - float(energy[:fewer].sum())
    once = EXCESS * rows * columns * rounding**2
    if once < rest <= 2 * once:  # both tensors were rounded, each by itself
        beyond = fewer
    above = float(energy[:beyond].sum())
    return DeltaSpectrum(
        rows=rows,
        columns=columns,
        stable_rank=spectral.stable_rank(singular),
        rank=beyond,
        rank_99=int(np.searchsorted(np.cumsum(energy), RANK_SHARE * total)) + 1,
        energy=above / total,
        explained=rest <= 2 * once,
    )
