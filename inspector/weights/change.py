"""What became of one tensor: values compared in one pass, then the spectrum of the difference."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from inspector.weights import lineage
from inspector.weights.architecture import Placement
from inspector.weights.checkpoint import Reader
from inspector.weights.codes import Packed
from inspector.weights.delta import Comparison, Difference
from inspector.weights.delta_rank import DeltaSpectrum
from inspector.weights.formats import UNREADABLE
from inspector.weights.header import TensorEntry
from inspector.weights.matrices import to_float
from inspector.weights.matrix_pass import MatrixPass, Piece, is_matrix
from inspector.weights.packed import read_packed
from inspector.weights.pairs import ELEMENTS, Pair, SideBySide, is_turned
from inspector.weights.scan import read_patterns

SCALED_SHARE = 0.01  # of a difference may be left when one factor is to explain it
ROUNDING_ROOM = 1.5  # times what rounding gives is still rounding


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """What is known of a pair: no `difference` where the bytes are the same or shapes forbid it.

    `compared` says which values were; `spectra` are those of the differences of its matrices, by
    label of the part or expert; `rows_changed` of the matrix's rows, None where not counted.
    `no_spectrum` says why there is none where one was to be expected.
    """

    pair: Pair
    identical: bool = False
    compared: str = ""
    difference: Difference | None = None
    spectra: tuple[tuple[str, DeltaSpectrum], ...] = ()
    rows_changed: int | None = None
    no_spectrum: str | None = None
    pattern: str | None = None
    factor: float | None = None


class Measure:
    """What a thread does with a pair; `side` is its own, the readers are shared."""

    def __init__(
        self, base: Reader, tuned: Reader, side: SideBySide, pair: Pair, placement: Placement
    ) -> None:
        self._base, self._tuned, self._side = base, tuned, side
        self._pair, self._placement = pair, placement
        self._comparison = (
            Comparison("F32", "F32")
            if pair.is_packed
            else Comparison(pair.base.dtype, pair.tuned.dtype)
        )

    def change(self) -> Change:
        """The change of the pair, whose bytes are not the same."""
        pair = self._pair
        if pair.is_packed:
            return self._through_scales()
        n, compared = _common(pair)
        if not n:
            return self._turned(compared)
        pieces: list[Piece] = []
        rows_changed = None
        if is_matrix(pair, self._placement):
            work = MatrixPass(self._side, pair, self._placement, self._comparison)
            pieces = work.pieces()
            rows_changed = work.rows_changed
        else:
            for base, tuned in self._side.values(pair, 0, n):
                self._comparison.add(base, tuned)
        difference = self._comparison.result()
        spectra = [(piece.label, piece.spectrum(difference)) for piece in pieces]
        pattern, factor = self._pattern(difference, n)
        return Change(
            pair=pair,
            compared=compared,
            difference=difference,
            spectra=()
            if difference.rounding_only
            else tuple((label, spectrum) for label, spectrum in spectra if spectrum is not None),
            rows_changed=rows_changed,
            no_spectrum=next((piece.why_not for piece in pieces if piece.why_not), None),
            pattern=pattern,
            factor=factor,
        )

    def _turned(self, compared: str) -> Change:
        """Of shapes that are each other's transpose: moved as a whole, or compared after it."""
        pair = self._pair
        if (moved := self._moved()) or not _is_turned(pair.base.shape, pair.tuned.shape):
            return Change(pair=pair, compared=compared, pattern=moved)
        one = _values(pair.base, None, self._base).reshape(pair.base.shape).T
        other = _values(pair.tuned, None, self._tuned).reshape(pair.tuned.shape)
        for base, tuned in zip(one, other, strict=True):
            self._comparison.add(base.astype(np.float64), tuned.astype(np.float64))
        difference = self._comparison.result()
        return Change(pair=pair, compared="the base transposed", difference=difference)

    def _through_scales(self) -> Change:
        """Of quantised tensors the values are compared, in memory; no step is common to all."""
        pair = self._pair
        if pair.shapes[0] != pair.shapes[1]:
            return Change(pair=pair, compared="nothing: the shapes of the values differ")
        one = _values(pair.base, pair.base_codes, self._base)
        other = _values(pair.tuned, pair.tuned_codes, self._tuned)
        for start in range(0, one.size, ELEMENTS):
            part = slice(start, start + ELEMENTS)
            self._comparison.add(one[part].astype(np.float64), other[part].astype(np.float64))
        return Change(pair=pair, difference=self._comparison.result())

    def _pattern(self, difference: Difference, n: int) -> tuple[str | None, float | None]:
        """(what all of the change amounts to in one word, its factor if it is one)."""
        d = difference
        if not d.changed:
            alike = d.n == n and self._pair.base.dtype == self._pair.tuned.dtype
            alike = alike and self._pair.base.shape == self._pair.tuned.shape
            return ("only the signs of zeros" if alike else None), None
        if d.rounding_only:
            return None, None
        if d.flipped == d.changed:
            return ("sign flip" if d.norm == 2 * d.base_norm else "some signs flipped"), None
        if d.same_values and (moved := self._moved()):
            return moved, None
        if d.base_norm and d.tuned_norm:
            factor = d.product / d.base_norm**2
            left = d.tuned_norm**2 - factor * d.product
            if left <= SCALED_SHARE * d.norm**2 and self._is_scaled(factor, d, n):
                return "scale only", factor
        return None, None

    def _moved(self) -> str | None:
        """How equal values were moved about; both tensors are held for it, so only when likely."""
        pair = self._pair
        if pair.base.dtype != pair.tuned.dtype or pair.base.bytes != pair.tuned.bytes:
            return None
        one, other = (
            read_patterns(entry, reader, 0, entry.parameters).reshape(entry.shape)
            for entry, reader in ((pair.base, self._base), (pair.tuned, self._tuned))
        )
        return lineage.arrangement(one, other)

    def _is_scaled(self, factor: float, difference: Difference, n: int) -> bool:
        """Whether nothing but rounding is left of tuned - factor * base: a second pass."""
        left = 0.0
        for base, tuned in self._side.values(self._pair, 0, n):
            fine = np.isfinite(base) & np.isfinite(tuned)
            left += float(np.square(tuned[fine] - factor * base[fine]).sum())
        return left <= ROUNDING_ROOM * difference.n * difference.rounding**2


def why_not(pair: Pair) -> str | None:
    """Why the values of a pair cannot be compared; None when they can."""
    for entry, codes in ((pair.base, pair.base_codes), (pair.tuned, pair.tuned_codes)):
        if why := UNREADABLE.get(entry.dtype) or (codes and codes.problem):
            return why
    return None


def _values(entry: TensorEntry, codes: Packed | None, reader: Reader) -> np.ndarray:
    """All values of a tensor, flat, quantised or not."""
    if codes is not None:
        values = read_packed(codes, reader)
        return (values.swapaxes(-1, -2) if is_turned(codes) else values).ravel()
    return to_float(entry.dtype, read_patterns(entry, reader, 0, entry.parameters)).ravel()


def _common(pair: Pair) -> tuple[int, str]:
    """(how many values from the first on can be compared one by one, which they are)."""
    base, tuned = pair.base, pair.tuned
    if base.parameters == tuned.parameters and not _is_turned(base.shape, tuned.shape):
        return base.parameters, ""
    if base.shape[1:] == tuned.shape[1:] and base.shape and tuned.shape:
        rows = min(base.shape[0], tuned.shape[0])
        return rows * math.prod(base.shape[1:]), f"the first {rows:,} rows, which both have"
    return 0, "nothing: no rows are common to both shapes"


def _is_turned(one: Sequence[int], other: Sequence[int]) -> bool:
    return len(one) == 2 and one != other and tuple(one) == tuple(other[::-1])
