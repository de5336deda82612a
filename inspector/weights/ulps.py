"""Distance of numbers in units of the last place (ULP) of the coarser of two formats.

The distance is |k(a) - k(b)|, where k counts the format's numbers from zero outwards and is
negative below zero, so that plus and minus zero coincide. What lies between two numbers of the
format is rounded to the nearest, ties to even. Where two formats meet, the coarser one is that
with the wider step at that place.
"""

import dataclasses
import typing
from functools import cache

import numba
import numpy as np
from jaxtyping import Float, Integer

from inspector.weights.formats import FORMATS

EXACT = 2048  # distances up to here are counted one by one
PER_OCTAVE = 1024  # beyond, in this many bins for each factor of two
BINS = 1 + EXACT + 53 * PER_OCTAVE
INTEGERS = -1  # instead of mantissa bits: whole numbers, one apart
RICH_BITS = 3  # a number is evidence for a format when it uses one of its last so many bits


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """The numbers of a format, for the kernel: [mantissa bits, bias] and, by power of two, steps.

    `steps` holds the distance between neighbours of a float64 whose biased exponent is the index.
    """

    shape: Integer[np.ndarray, "2"]
    scale: Float[np.ndarray, "3"]  # smallest normal number, 1 / smallest subnormal one, largest
    steps: Float[np.ndarray, " 2048"]


@cache
def grid(dtype: str) -> Grid:
    """The numbers a safetensors dtype can hold."""
    form = FORMATS[dtype]
    exponents = np.arange(2048) - 1023
    if form.kind in ("int", "uint"):
        return Grid(
            shape=np.array([INTEGERS, 0]),
            scale=np.array([0.0, 1.0, np.inf]),
            steps=np.ones(2048),
        )
    mantissa, bias = (0, 127) if form.kind == "scale" else (form.mantissa, form.bias)
    top = (1 << form.exponent) - 1 - bias - (1 if form.special == "ieee" else 0)
    largest = np.ldexp(2.0 - 2.0**-mantissa, top) if form.kind == "float" else np.inf
    least = 1 - bias - mantissa
    return Grid(
        shape=np.array([mantissa, bias]),
        scale=np.array([np.ldexp(1.0, 1 - bias), np.ldexp(1.0, min(-least, 1023)), largest]),
        steps=np.ldexp(1.0, np.maximum(exponents, 1 - bias) - mantissa),
    )


@numba.njit(nogil=True, cache=True, inline="always")
@typing.no_type_check
def _place(magnitude, bits, mantissa, bias, least, per_unit):
    """How many numbers of the format lie between zero and a magnitude (`bits`: its float64)."""
    if mantissa < 0:
        return np.uint64(np.rint(min(magnitude, 1.8e19)))
    if mantissa == 52:
        return bits
    if magnitude < least:
        return np.uint64(np.rint(magnitude * per_unit))
    shift = np.uint64(52 - mantissa)
    one = np.uint64(1)
    rounded = (bits + (one << (shift - one)) - one + ((bits >> shift) & one)) >> shift
    return rounded - (np.uint64(1023 - bias) << np.uint64(mantissa))


@numba.njit(nogil=True, cache=True, inline="always")
@typing.no_type_check
def _apart(a, b, a_bits, b_bits, shape, scale):
    """Distance of two finite numbers in places of a format."""
    ka = _place(abs(a), a_bits, shape[0], shape[1], scale[0], scale[1])
    kb = _place(abs(b), b_bits, shape[0], shape[1], scale[0], scale[1])
    if (a < 0) != (b < 0):
        return ka + kb
    return ka - kb if ka > kb else kb - ka


@numba.njit(nogil=True, cache=True, inline="always")
@typing.no_type_check
def _bin(distance):
    """Index of a distance's bin: itself up to EXACT, then PER_OCTAVE to a factor of two."""
    if distance <= np.uint64(EXACT):
        return np.int64(distance)
    rest = distance - np.uint64(1)  # so that a bin ends, and none begins, at a power of two
    octave = 0
    while rest >= np.uint64(EXACT):
        rest >>= np.uint64(1)
        octave += 1
    return EXACT + 1 + (octave - 1) * PER_OCTAVE + (np.int64(rest) - PER_OCTAVE)


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def count_distances(a, b, shapes, scales, squares, counts, sums):
    """Add the distances of finite pairs to `counts`; sums[0] += step², sums[1] = the largest.

    `shapes` and `scales` are those of the two formats, `squares` the larger step² of both by
    exponent; the step is that at b.
    """
    a_bits, b_bits = a.view(np.uint64), b.view(np.uint64)
    magnitude = np.uint64(0x7FFFFFFFFFFFFFFF)
    two = shapes[0, 0] != shapes[1, 0] or shapes[0, 1] != shapes[1, 1]
    total = sums[0]
    largest = np.uint64(0)
    for i in range(len(a)):
        x, y = a[i], b[i]
        if not (abs(x) < np.inf and abs(y) < np.inf):
            continue
        y_bits = b_bits[i] & magnitude
        total += squares[y_bits >> np.uint64(52)]
        if x == y:
            counts[0] += np.uint64(1)
            continue
        x_bits = a_bits[i] & magnitude
        distance = _apart(x, y, x_bits, y_bits, shapes[0], scales[0])
        if two:
            distance = min(distance, _apart(x, y, x_bits, y_bits, shapes[1], scales[1]))
        largest = max(largest, distance)
        counts[_bin(distance)] += np.uint64(1)
    sums[0] = total
    sums[1] = max(sums[1], np.float64(largest))


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def count_on_grid(values, shape, scale, found):
    """Found += [finite values, those the format can hold, those that use its last bits]."""
    bits = values.view(np.uint64)
    magnitude = np.uint64(0x7FFFFFFFFFFFFFFF)
    fraction = np.uint64(52 - shape[0])
    below = (np.uint64(1) << fraction) - np.uint64(1)
    last = ((np.uint64(1) << (fraction + np.uint64(RICH_BITS))) - np.uint64(1)) ^ below
    for i in range(len(values)):
        x = abs(values[i])
        if not x < np.inf:
            continue
        found[0] += 1
        if x < scale[0]:
            on = x * scale[1] == np.rint(x * scale[1])
        else:
            on = x <= scale[2] and (bits[i] & magnitude) & below == np.uint64(0)
        if on:
            found[1] += 1
            if x >= scale[0] and bits[i] & last != np.uint64(0):
                found[2] += 1


def bin_ends() -> Integer[np.ndarray, " bins"]:
    """The largest distance of every bin, as uint64."""
    octaves = np.arange(1, 54, dtype=np.uint64)[:, None]
    steps = np.arange(PER_OCTAVE, 2 * PER_OCTAVE, dtype=np.uint64)[None, :]
    far = ((steps + np.uint64(1)) << octaves).ravel()  # the very last wraps round to 0
    far[-1] = np.uint64(0xFFFFFFFFFFFFFFFF)
    return np.concatenate([np.arange(EXACT + 1, dtype=np.uint64), far])
