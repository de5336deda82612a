"""One pass over a pair of matrices: values compared, and the spectrum of their difference."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from inspector.errors import NotEnoughData
from inspector.weights import spectral
from inspector.weights.architecture import Placement
from inspector.weights.delta import Comparison, Difference
from inspector.weights.delta_rank import DeltaSpectrum, delta_spectrum, unevenness
from inspector.weights.formats import FORMATS
from inspector.weights.layouts import Part, take
from inspector.weights.matrices import KINDS
from inspector.weights.pairs import ELEMENTS, Pair, SideBySide


@dataclasses.dataclass(frozen=True, kw_only=True)
class Piece:
    """The difference of a matrix, or of one part or expert of a tensor (then with a `label`).

    `singular` is None where rounding explains all of it; `why_not` says why it has none.
    `square_step` is the mean squared step of the stated formats, `uneven` how far steps differ.
    """

    label: str
    rows: int
    columns: int
    singular: np.ndarray | None
    why_not: str | None
    square_step: float
    uneven: float

    def spectrum(self, difference: Difference) -> DeltaSpectrum | None:
        """The singular values read against rounding, as the whole tensor shows it to be."""
        if self.singular is None:
            return None
        rounding = math.sqrt(self.square_step / 12) * difference.widened
        return delta_spectrum(self.singular, self.rows, self.columns, rounding, self.uneven)


def is_matrix(pair: Pair, placement: Placement) -> bool:
    """Whether the difference of the first rows of both is a matrix of weights."""
    return (
        placement.kind in KINDS
        and len(pair.base.shape) > 1
        and pair.base.shape[1:] == pair.tuned.shape[1:]
        and 0 not in pair.base.shape
        and 0 not in pair.tuned.shape
        and all(FORMATS[e.dtype].kind == "float" for e in (pair.base, pair.tuned))
        and all(FORMATS[e.dtype].bits > 4 for e in (pair.base, pair.tuned))
    )


class MatrixPass:
    """Reads both matrices once, by rows; the comparison takes all values along."""

    def __init__(
        self, side: SideBySide, pair: Pair, placement: Placement, comparison: Comparison
    ) -> None:
        self._side, self._pair, self._comparison = side, pair, comparison
        same = pair.base.shape == pair.tuned.shape
        self._parts: tuple[Part | None, ...] = (placement.parts if same else ()) or (None,)
        self._experts = placement.experts if same else None
        self._rows = min(pair.base.shape[0], pair.tuned.shape[0])
        self._columns = math.prod(pair.base.shape[1:])
        self.rows_changed = 0

    def pieces(self) -> list[Piece]:
        """Every matrix of the tensor; of a tall one only sums are held, of others one expert."""
        if self._parts == (None,) and not self._experts and self._columns <= self._rows:
            return [self._streamed()]
        return [piece for expert in range(self._experts or 1) for piece in self._held(expert)]

    def _blocks(
        self, first: int, last: int, columns: int
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """(row, difference, squared steps) of some rows at a time."""
        row = 0
        step = max(ELEMENTS // columns, 1) * columns
        for base, tuned in self._side.values(self._pair, first, last, step):
            self._comparison.add(base, tuned)
            with np.errstate(invalid="ignore", over="ignore"):
                delta = (tuned - base).reshape(-1, columns)
            self.rows_changed += int(delta.any(axis=1).sum())
            yield row, delta, self._comparison.squared_steps(tuned).reshape(-1, columns)
            row += len(delta)

    def _streamed(self) -> Piece:
        """A tall matrix, of which no more than its Gram matrix is held."""
        rows, columns = self._rows, self._columns
        row_sums, column_sums = np.zeros(rows), np.zeros(columns)

        def changed() -> Iterator[np.ndarray]:
            for row, delta, squares in self._blocks(0, rows * columns, columns):
                row_sums[row : row + len(delta)] = squares.sum(axis=1)
                np.add(column_sums, squares.sum(axis=0), out=column_sums)
                yield delta[delta.any(axis=1)]

        gram = spectral.gram(changed(), columns)
        singular, why_not = (None, None) if self._comparison.is_rounding else _singular(gram)
        return _piece("", singular, why_not, row_sums, column_sums)

    def _held(self, expert: int) -> Iterator[Piece]:
        """The parts of one expert, or of a tensor without experts."""
        shape = self._slab()
        size, columns = math.prod(shape), math.prod(shape[1:])
        delta, squares = np.empty((2, shape[0], columns), dtype=np.float32)
        for row, block, steps in self._blocks(expert * size, (expert + 1) * size, columns):
            with np.errstate(over="ignore"):
                delta[row : row + len(block)] = block
                squares[row : row + len(block)] = steps
        for part in self._parts:
            labels = [f"expert {expert}"] if self._experts else []
            labels += [part.role] if part else []
            one, other = (self._taken(array.reshape(shape), part) for array in (delta, squares))
            singular, why_not = None, None
            if not self._comparison.is_rounding:
                tall = one if one.shape[0] >= one.shape[1] else one.T
                singular, why_not = _singular(spectral.gram([tall], tall.shape[1]))
            yield _piece(
                f"[{', '.join(labels)}]" if labels else "",
                singular,
                why_not,
                other.sum(axis=1, dtype=np.float64),
                other.sum(axis=0, dtype=np.float64),
            )

    def _slab(self) -> tuple[int, ...]:
        """Shape of one expert, or of the rows that both tensors have."""
        shape = self._pair.base.shape
        if not self._experts:
            return (self._rows, *shape[1:])
        return shape[1:] if len(shape) > 2 else (shape[0] // self._experts, shape[1])

    def _taken(self, slab: np.ndarray, part: Part | None) -> np.ndarray:
        """The part of a slab as a matrix."""
        if part is not None:
            dropped = len(self._pair.base.shape) - slab.ndim
            slab = take(slab, dataclasses.replace(part, axis=part.axis - dropped))
        return slab.reshape(len(slab), -1)


def _singular(gram: np.ndarray) -> tuple[np.ndarray | None, str | None]:
    """(singular values, why there are none)."""
    try:
        return spectral.of_gram(gram), None
    except NotEnoughData as error:
        return None, str(error)


def _piece(
    label: str,
    singular: np.ndarray | None,
    why_not: str | None,
    row_sums: np.ndarray,
    column_sums: np.ndarray,
) -> Piece:
    rows, columns = len(row_sums), len(column_sums)
    return Piece(
        label=label,
        rows=rows,
        columns=columns,
        singular=singular,
        why_not=why_not,
        square_step=float(row_sums.sum()) / (rows * columns),
        uneven=unevenness(row_sums, column_sums),
    )
