"""Singular values of a matrix, and the measures that follow from them.

Measures take singular values in descending order; all but `condition` are unchanged by scaling
and by zeros added at the end.
"""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from inspector.errors import BadOption, NotEnoughData
from inspector.results import show_plain
from inspector.weights import lapack
from inspector.weights.tally import LEAST_SQUARE

FLOOR = 1e-7  # relative to the largest: below it, singular values from a Gram matrix are rounding


def singular_values(matrix: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, " rank"]:
    """Singular values in float64, descending, from the Gram matrix of the shorter side.

    Relative error 1e-6 at 1.5e-6 of the largest, 1e-3 at 5e-8 of it. Raises NotEnoughData when
    the matrix is empty or holds NaN or infinities.
    """
    if matrix.size == 0:
        raise NotEnoughData("A matrix without entries has no singular values.")
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    return of_gram(gram([tall], tall.shape[1]))


def gram(
    blocks: Iterable[Float[np.ndarray, "_ side"]], side: int
) -> Float[np.ndarray, "side side"]:
    """Sum of blockᵀ block in float64; one triangle of it, which one is between us and `of_gram`."""
    total = np.zeros((side, side))
    for block in blocks:
        lapack.add_gram(total, block.astype(np.float64, order="C", copy=False))
    return total


def of_gram(total: Float[np.ndarray, "side side"]) -> Float[np.ndarray, " side"]:
    """Singular values, descending, from a sum that `gram` made, which is used up."""
    _check(float(total.trace()))
    singular: np.ndarray = np.sqrt(np.maximum(lapack.eigenvalues(total)[::-1], 0.0))
    return singular


def _check(trace: float) -> None:
    if not math.isfinite(trace):
        raise NotEnoughData("The matrix holds NaN or infinite values, or its squares overflow.")
    if 0 < trace < LEAST_SQUARE:
        raise NotEnoughData("The matrix is so small that its squares leave the range of floats.")


def use_gpu(device: str) -> bool:
    """Whether to work on a GPU; BadOption when one is asked for and there is none.

    Without a driver of NVIDIA torch is not imported, which takes seconds.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise BadOption(f"--device {show_plain(device)}: give auto, cpu or cuda.")
    there = False
    if device != "cpu" and Path("/dev/nvidiactl").exists():
        import torch

        there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise BadOption("--device cuda: there is no CUDA device here. Give --device cpu.")
    return there


def on_gpu(blocks: Iterable[Float[np.ndarray, "_ side"]], side: int) -> Float[np.ndarray, " side"]:
    """Singular values, descending, as `of_gram(gram(blocks))` gives them, computed on the GPU."""
    import torch

    total = torch.zeros((side, side), dtype=torch.float64, device="cuda")
    for block in blocks:
        wide = torch.from_numpy(np.ascontiguousarray(block)).to("cuda").to(torch.float64)
        total.addmm_(wide.T, wide)
    _check(float(total.trace()))
    eigenvalues = torch.linalg.eigvalsh(total).flip(0).clamp_min(0.0)
    singular: np.ndarray = eigenvalues.sqrt().cpu().numpy()
    return singular


def stable_rank(singular: Float[np.ndarray, " rank"]) -> float:
    """Sum of squared singular values over the largest squared.

    In [1, rank]; 1: one direction carries all; rank: all directions weigh the same.
    Source: Rudelson & Vershynin 2007.
    """
    return float(np.square(_scaled(singular)).sum())


def participation(singular: Float[np.ndarray, " rank"]) -> float:
    """Participation ratio: (sum of squared singular values)² over the sum of their 4th powers.

    In [1, rank]; rank: all directions weigh the same. Source: Bell & Dean 1970.
    """
    energy = np.square(_scaled(singular))
    return float(energy.sum() ** 2 / np.square(energy).sum())


def effective_rank(singular: Float[np.ndarray, " rank"]) -> float:
    """Exponential of the entropy of the singular values over their sum.

    In [1, rank]. Source: Roy & Vetterli 2007. Other tools take squares: `effective_rank_energy`.
    """
    return _exp_entropy(_scaled(singular))


def effective_rank_energy(singular: Float[np.ndarray, " rank"]) -> float:
    """Exponential of the entropy of the squared singular values over their sum.

    In [1, rank], never above `effective_rank`.
    """
    return _exp_entropy(np.square(_scaled(singular)))


def condition(singular: Float[np.ndarray, " rank"]) -> float | None:
    """Largest over smallest singular value, at least 1; None where the smallest is rounding."""
    scaled = _scaled(singular)
    return float(1 / scaled[-1]) if scaled[-1] > FLOOR else None


def _scaled(singular: Float[np.ndarray, " rank"]) -> Float[np.ndarray, " rank"]:
    """Over the largest, so that squares neither overflow nor vanish."""
    if singular.size == 0 or not 0 < singular[0] < math.inf:
        raise NotEnoughData("The matrix is empty, all zero or not finite: it has no spectrum.")
    scaled: np.ndarray = singular / singular[0]
    return scaled


def _exp_entropy(weights: Float[np.ndarray, " rank"]) -> float:
    shares = weights[weights > 0] / weights.sum()
    return math.exp(-float(shares @ np.log(shares)))
