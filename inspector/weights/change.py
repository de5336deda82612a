"""What became of one tensor: values compared in one pass, then the spectrum of the difference."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from inspector.errors import NotEnoughData
from inspector.weights import lineage, spectral
from inspector.weights.architecture import Placement
from inspector.weights.checkpoint import Reader
from inspector.weights.codes import Packed
from inspector.weights.delta import Comparison, DeltaSpectrum, Difference, delta_spectrum
from inspector.weights.formats import FORMATS, UNREADABLE
from inspector.weights.header import TensorEntry
from inspector.weights.layouts import take, take_expert
from inspector.weights.matrices import KINDS, to_float
from inspector.weights.packed import read_packed
from inspector.weights.pairs import ELEMENTS, Pair, SideBySide
from inspector.weights.scan import read_patterns

SCALED_SHARE = 0.01  # of a difference may be left when one factor is to explain it
ROUNDING_ROOM = 1.5  # times what rounding gives is still rounding


@dataclasses.dataclass(frozen=True, kw_only=True)
class PieceSpectrum:
    """The spectrum of the difference of a matrix, or of one part or expert of a tensor."""

    piece: str
    spectrum: DeltaSpectrum


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """What is known of a pair: no `difference` where the bytes are the same or shapes forbid it.

    `compared` says which values were; `rows_changed` of the matrix's rows, None where not counted.
    `no_spectrum` says why there is none where one was to be expected.
    """

    pair: Pair
    identical: bool = False
    compared: str = ""
    difference: Difference | None = None
    spectra: tuple[PieceSpectrum, ...] = ()
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
        self._rows_changed: int | None = None

    def change(self) -> Change:
        """The change of the pair, whose bytes are not the same."""
        pair = self._pair
        if pair.is_packed:
            return self._through_scales()
        n, compared = _common(pair)
        if not n:
            return Change(pair=pair, compared=compared, pattern=self._moved())
        spectra: tuple[PieceSpectrum, ...] = ()
        why: str | None = None
        matrix = self._is_matrix()
        if matrix and self._is_tall():
            spectra, why = self._streamed(n)
        elif matrix:
            spectra, why = self._held(n)
        else:
            for base, tuned in self._side.values(pair, n, ELEMENTS):
                self._comparison.add(base, tuned)
        difference = self._comparison.result()
        pattern, factor = self._pattern(difference, n)
        return Change(
            pair=pair,
            compared=compared,
            difference=difference,
            spectra=spectra,
            rows_changed=self._rows_changed,
            no_spectrum=why,
            pattern=pattern,
            factor=factor,
        )

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

    def _is_matrix(self) -> bool:
        pair = self._pair
        return (
            self._placement.kind in KINDS
            and len(pair.base.shape) > 1
            and pair.base.shape[1:] == pair.tuned.shape[1:]
            and all(FORMATS[e.dtype].kind == "float" for e in (pair.base, pair.tuned))
            and all(FORMATS[e.dtype].bits > 4 for e in (pair.base, pair.tuned))
        )

    def _is_tall(self) -> bool:
        """Whether the Gram matrix can be summed over rows as they come."""
        rows, columns = self._rows()
        whole = not self._placement.parts and not self._placement.experts
        return whole and columns <= rows and columns <= ELEMENTS

    def _rows(self) -> tuple[int, int]:
        """(rows, values in each) as they lie in the files; of both tensors those in common."""
        shape = self._pair.base.shape
        return min(shape[0], self._pair.tuned.shape[0]), math.prod(shape[1:])

    def _deltas(self, n: int, step: int) -> Iterator[np.ndarray]:
        """The difference in flat chunks; each is also taken into the comparison."""
        for base, tuned in self._side.values(self._pair, n, step):
            self._comparison.add(base, tuned)
            with np.errstate(invalid="ignore", over="ignore"):
                yield tuned - base

    def _streamed(self, n: int) -> tuple[tuple[PieceSpectrum, ...], str | None]:
        rows, columns = self._rows()
        self._rows_changed = 0

        def changed() -> Iterator[np.ndarray]:
            for flat in self._deltas(n, max(ELEMENTS // columns, 1) * columns):
                block = flat.reshape(-1, columns)
                block = block[block.any(axis=1)]
                self._rows_changed = (self._rows_changed or 0) + len(block)
                yield block

        gram = spectral.gram(changed(), columns)
        difference = self._comparison.result()
        if difference.rounding_only:
            return (), None
        try:
            singular = spectral.of_gram(gram)
        except NotEnoughData as error:
            return (), str(error)
        found = delta_spectrum(singular, rows, columns, difference.rounding)
        return (PieceSpectrum(piece="", spectrum=found),), None

    def _held(self, n: int) -> tuple[tuple[PieceSpectrum, ...], str | None]:
        rows, columns = self._rows()
        held = np.empty(n, dtype=np.float32)
        at = 0
        with np.errstate(over="ignore"):
            for flat in self._deltas(n, ELEMENTS):
                held[at : at + len(flat)] = flat
                at += len(flat)
        self._rows_changed = int(held.reshape(rows, columns).any(axis=1).sum())
        difference = self._comparison.result()
        if difference.rounding_only:
            return (), None
        found = []
        same = self._pair.base.shape == self._pair.tuned.shape
        shape = self._pair.base.shape if same else (rows, columns)
        for piece, matrix in pieces(held.reshape(shape), self._placement if same else None):
            try:
                singular = spectral.singular_values(matrix)
            except NotEnoughData as error:
                return (), str(error)
            high, wide = matrix.shape
            spectrum = delta_spectrum(singular, high, wide, difference.rounding)
            found.append(PieceSpectrum(piece=piece, spectrum=spectrum))
        return tuple(found), None

    def _pattern(self, difference: Difference, n: int) -> tuple[str | None, float | None]:
        """(what all of the change amounts to in one word, its factor if it is one)."""
        d = difference
        if not d.changed:
            return ("only the signs of zeros" if d.n else None), None
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
        for base, tuned in self._side.values(self._pair, n, ELEMENTS):
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
        return read_packed(codes, reader).ravel()
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


def pieces(array: np.ndarray, placement: Placement | None) -> Iterator[tuple[str, np.ndarray]]:
    """(label, matrix) of every expert and part of a tensor; one of no label when it has none."""
    if placement is None:
        yield "", array.reshape(len(array), -1)
        return
    for expert in range(placement.experts) if placement.experts else (None,):
        slab = array if expert is None else take_expert(array, placement.experts or 1, expert)
        for part in placement.parts or (None,):
            labels = [] if expert is None else [f"expert {expert}"]
            matrix = slab
            if part is not None:
                labels.append(part.role)
                axis = part.axis - (array.ndim - slab.ndim)
                matrix = take(slab, dataclasses.replace(part, axis=axis))
            label = f"[{', '.join(labels)}]" if labels else ""
            yield label, matrix.reshape(len(matrix), -1)
