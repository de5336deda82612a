"""What a head reads, compares and writes: its OV and QK matrices, never multiplied out.

OV = W_O W_V and QK = W_Qᵀ W_K are width x width, but of rank head size; all that is asked of them
follows from head size x head size products. Definitions: Elhage et al. 2021, "A Mathematical
Framework for Transformer Circuits". Biases are left out.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float

from inspector.errors import NotEnoughData
from inspector.weights import spectral

LARGEST = 1e70  # sum of squares of a factor
DRAWS = 32  # of random factors, for what independent ones would give
Factor = Float[np.ndarray, "size width"]
OtherFactor = Float[np.ndarray, "size other_width"]
AnyFactor = Float[np.ndarray, "_ _"]
Root = Float[np.ndarray, "size size"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Circuit:
    """Size and shape of a product left ᵀ right of two factors; None where it is all zero.

    `norm_noise` is the Frobenius norm if the factors, as they are, had nothing to do with each
    other; the other `_noise` fields are those of independent Gaussian factors of that shape.
    """

    norm: float
    norm_noise: float
    top: float
    stable_rank: float | None
    effective_rank: float | None
    effective_rank_noise: float
    effective_rank_energy: float | None
    effective_rank_energy_noise: float


def root(factor: Factor) -> Root:
    """A square matrix R with RᵀR = F Fᵀ: it stands for F in every norm and singular value.

    Relative error of singular values: see spectral.FLOOR. Raises NotEnoughData when values are not
    finite, or so large that products of products would not be.
    """
    wide = factor.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        gram = wide @ wide.T
    if not gram.trace() < LARGEST:
        raise NotEnoughData("It holds NaN, infinite or absurdly large values.")
    values, vectors = np.linalg.eigh(gram)
    result: np.ndarray = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    return result


def circuit(left: Root, right: Root, widths: tuple[int, int]) -> Circuit:
    """The product of two factors given by their roots; `widths` are those of the factors."""
    singular = np.linalg.svd(left @ right.T, compute_uv=False)
    size, full = len(left), bool(singular[0] > 0)
    expected = noise(size, *widths)
    return Circuit(
        norm=float(np.linalg.norm(singular)),
        norm_noise=float(np.linalg.norm(left) * np.linalg.norm(right) / np.sqrt(size)),
        top=float(singular[0]),
        stable_rank=spectral.stable_rank(singular) if full else None,
        effective_rank=spectral.effective_rank(singular) if full else None,
        effective_rank_noise=expected.effective_rank,
        effective_rank_energy=spectral.effective_rank_energy(singular) if full else None,
        effective_rank_energy_noise=expected.effective_rank_energy,
    )


def copying(o: Factor, v: OtherFactor) -> float | None:
    """Copying score of OV: sum of its eigenvalues over the sum of their sizes, in [-1, 1].

    1: every direction is written back as it was read; -1: with its sign turned; about 0: noise.
    None where OV has no eigenvalues (widths differ) or all are zero. Source: Elhage et al. 2021.
    """
    if o.shape != v.shape:
        return None
    # the eigenvalues of W_O W_V that are not zero are those of W_V W_O
    values = np.linalg.eigvals(v.astype(np.float64) @ o.astype(np.float64).T)
    sizes = np.abs(values).sum()
    return float(values.real.sum() / sizes) if sizes > 0 else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise:
    """Means over DRAWS pairs of independent Gaussian factors; spread of the copying score."""

    effective_rank: float
    effective_rank_energy: float
    copying_std: float | None


@functools.lru_cache(maxsize=64)
def noise(size: int, left: int, right: int) -> Noise:
    """What independent Gaussian factors of (size, left) and (size, right) give; seeded."""
    generator = np.random.default_rng(0)
    ranks, energies, scores = [], [], []
    for _ in range(DRAWS):
        a, b = generator.standard_normal((size, left)), generator.standard_normal((size, right))
        singular = np.linalg.svd(root(a) @ root(b).T, compute_uv=False)
        ranks.append(spectral.effective_rank(singular))
        energies.append(spectral.effective_rank_energy(singular))
        scores.append(copying(a, b))
    known = [score for score in scores if score is not None]
    return Noise(
        effective_rank=float(np.mean(ranks)),
        effective_rank_energy=float(np.mean(energies)),
        copying_std=float(np.sqrt(np.mean(np.square(known)))) if known else None,
    )


def cosine(first: tuple[AnyFactor, AnyFactor], second: tuple[AnyFactor, AnyFactor]) -> float | None:
    """Cosine between two products left ᵀ right as long vectors; None where one is all zero."""
    (a, b), (c, d) = ([f.astype(np.float64) for f in pair] for pair in (first, second))
    norms = [_squared(one, other) for one, other in ((a, b), (c, d))]
    if min(norms) <= 0:
        return None
    # sum over (Aᵀ B) * (Cᵀ D) = sum over (A Cᵀ) * (B Dᵀ)
    inner = float(np.sum((a @ c.T) * (b @ d.T)))
    return float(np.clip(inner / np.sqrt(norms[0] * norms[1]), -1.0, 1.0))


def _squared(left: Factor, right: OtherFactor) -> float:
    return float(np.sum((left @ left.T) * (right @ right.T)))
