"""Copies inside one model: heads, experts and layers that repeat another, nearly or exactly."""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from jaxtyping import Float

from inspector.weights.matrices import wide_blocks

COPY = 0.9  # |cosine| from which two matrices are copies; of independent ones it is about 1 / size
SUSPECT = 0.5  # |cosine| of sketches from which matrices are compared: over 5 sd from either side
SIDE = 16  # of a sketch: the standard deviation of its cosines is at most sqrt(2) / SIDE

Sketch = Float[np.ndarray, "side side"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Twin:
    """Two of a kind, by their place in the sequence given; `exact` when all numbers are equal."""

    one: int
    other: int
    cosine: float
    exact: bool


def twins(
    kinds: Sequence[Hashable],
    sketches: Sequence[Sketch | None],
    compare: Callable[[int, int], tuple[float, bool] | None],
) -> list[Twin]:
    """Of things of the same kind, each that is a copy of an earlier one.

    `sketches` are those of their matrices (None: never compared); `compare` gives the true cosine
    of two of them and whether they are equal. Copies of one thing are told relative to the first.
    """
    members: dict[Hashable, list[int]] = {}
    for place, (kind, sketch) in enumerate(zip(kinds, sketches, strict=True)):
        if sketch is not None and np.linalg.norm(sketch) > 0:
            members.setdefault(kind, []).append(place)
    found = []
    for places in members.values():
        flat = np.stack([np.ravel(sketches[place]) for place in places])  # type: ignore[arg-type]
        flat /= np.linalg.norm(flat, axis=1)[:, None]
        taken = np.zeros(len(places), dtype=bool)
        for i in range(len(places) - 1):
            if taken[i]:
                continue
            alike = np.abs(flat[i + 1 :] @ flat[i]) >= SUSPECT
            for j in i + 1 + np.flatnonzero(alike & ~taken[i + 1 :]):
                true = compare(places[i], places[j])
                if true is not None and abs(true[0]) >= COPY:
                    taken[j] = True
                    found.append(
                        Twin(one=places[i], other=places[j], cosine=true[0], exact=true[1])
                    )
    return sorted(found, key=lambda twin: (twin.one, twin.other))


@functools.lru_cache(maxsize=16)
def directions(width: int) -> Float[np.ndarray, "width side"]:
    """Random directions onto which every matrix of that width is projected; the same each time."""
    return np.random.default_rng(width).standard_normal((width, SIDE))


def _left(rows: int) -> Float[np.ndarray, "rows side"]:
    """Directions for the other side, which are not those of a square matrix's columns."""
    return directions(rows + 1)[:rows]


def sketch(matrix: Float[np.ndarray, "rows columns"]) -> Sketch:
    """A small matrix whose cosine with another sketch is near that of the matrices themselves."""
    rows, columns = matrix.shape
    left, right = _left(rows), directions(columns)
    total = np.zeros((SIDE, SIDE))
    for start, block in wide_blocks(matrix):
        total += left[start : start + len(block)].T @ (block @ right)
    return total


def sketch_product(
    one: Float[np.ndarray, "size width"], other: Float[np.ndarray, "size other_width"]
) -> Sketch:
    """The sketch of one ᵀ other, which is not multiplied out."""
    left, right = _left(one.shape[1]), directions(other.shape[1])
    product: np.ndarray = (one.astype(np.float64) @ left).T @ (other.astype(np.float64) @ right)
    return product


def same_values(
    one: Float[np.ndarray, "rows columns"], other: Float[np.ndarray, "rows columns"]
) -> tuple[float, bool] | None:
    """(cosine of two matrices as long vectors, whether they are equal); None where one is zero."""
    inner = first = second = 0.0
    for start, block in wide_blocks(one):
        a = block.ravel()
        b = other[start : start + len(block)].astype(np.float64).ravel()
        inner, first, second = inner + float(a @ b), first + float(a @ a), second + float(b @ b)
    if first <= 0 or second <= 0:
        return None
    cosine = float(np.clip(inner / np.sqrt(first * second), -1.0, 1.0))
    return cosine, bool(np.array_equal(one, other))
