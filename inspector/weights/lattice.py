"""Recognise values that were quantised and then stored in a wide format again.

Two traces are left: floats of 8 or 4 bits use few bits of the significand; and of n values that
share a scale few differ, however large n is, while n trained or random values nearly all do.
"""

import dataclasses
import itertools
import math
import typing

import numba
import numpy as np
from jaxtyping import Float, UInt32

MOST_MANTISSA = 3  # bits behind the leading one: E4M3 has 3, BF16 7
MOST_LEVELS = 256  # different values in a group: more are no format of 8 bits
MOST_COUNTED = 1024  # of them: further ones are not told apart
SLOTS = 4096  # of the hash table
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)  # of groups, then whole rows, then the tensor
LINEAR = 0.8  # n times as many values, over n^0.8 times as many different ones: no shared scale
STEEPEST = 4  # times as many different ones, however many more values: no shared scale either
ENOUGH = 64  # values: too few to tell anything
SAMPLE = 2**20  # values that are looked at before a lattice is believed
NEARLY_ALL = 0.99  # of the groups have at most as many values as is said
FEW = 16  # values, or this share of the numbers the storage has between the extremes: a lattice
SHARE = 0.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lattice:
    """Few values: at most `levels` (zero included) in each group of `group` inputs.

    `span` is "group", "row" or "tensor". Where `mantissa` is not None, all values have at most so
    many bits behind the leading one, and nothing is said of groups.
    """

    bits: int
    span: str
    group: int | None = None
    levels: int | None = None
    mantissa: int | None = None


def find_lattice(values: Float[np.ndarray, "rows columns"]) -> Lattice | None:
    """The lattice the finite values of a float32 matrix lie on; None where they are too many.

    Integers of 8 bits with a scale for 128 inputs or fewer leave no trace that is sure.
    """
    patterns = np.ascontiguousarray(values).view(np.uint32)
    if patterns.size < ENOUGH or not patterns.any():
        return None
    used = int(np.bitwise_or.reduce(patterns, axis=None)) & 0x7FFFFF
    mantissa = 24 - (used & -used).bit_length() if used else 0
    if mantissa <= MOST_MANTISSA:
        return Lattice(bits=4 if mantissa < 2 else 8, span="tensor", mantissa=mantissa)
    span, group = _shared(patterns)
    if span == "":
        return None
    whole = patterns.reshape(1, -1) if span == "tensor" else patterns
    held = np.quantile(count_distinct(whole, group, MOST_COUNTED, True), NEARLY_ALL)
    levels = math.ceil(held)
    if levels > min(MOST_LEVELS, max(FEW, SHARE * _numbers(patterns, mantissa))):
        return None
    return Lattice(
        bits=max(math.ceil(math.log2(levels)), 1),
        span=span,
        group=group if span == "group" else None,
        levels=levels,
    )


def _numbers(patterns: UInt32[np.ndarray, "rows columns"], mantissa: int) -> int:
    """How many numbers of so many bits lie between the smallest and the largest magnitude."""
    magnitudes = patterns & np.uint32(0x7FFFFFFF)
    least = magnitudes.min(initial=magnitudes.max(), where=magnitudes > 0)
    return 2 * (int(magnitudes.max() - least) >> (23 - mantissa)) + 2


def _shared(patterns: UInt32[np.ndarray, "rows columns"]) -> tuple[str, int]:
    """("group", "row" or "tensor", values in it) that share a scale; ("", 0) where none do.

    Beyond what shares a scale the number of different values grows with the number of values.
    """
    rows, columns = patterns.shape
    sample = patterns[:: max(patterns.size // SAMPLE, 1)]
    spans = [("group", size) for size in SIZES if size < columns]
    spans += [("row", columns)] if columns >= SIZES[0] else []
    spans += [("tensor", rows * columns)]
    found = ("", 0)
    means: list[float] = []
    for span, size in spans:
        array = sample.reshape(1, -1) if span == "tensor" else sample[:, : columns // size * size]
        mean = float(count_distinct(array, size, MOST_COUNTED, False).mean())
        if mean > MOST_LEVELS:
            break
        means.append(mean)
    for (smaller, mean), (one, more) in itertools.pairwise(zip(spans, means, strict=False)):
        if mean > 0 and more / mean < min((one[1] / smaller[1]) ** LINEAR, STEEPEST):
            found = one
        elif found[0]:  # scales that happen to repeat make larger groups look shared again
            break
    return found


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def count_distinct(patterns, group, limit, zeros):
    """How many different values every group holds, `limit` + 1 for more; zero is one if `zeros`."""
    rows, columns = patterns.shape
    counts = np.zeros((rows, (columns + group - 1) // group), dtype=np.int64)
    table = np.zeros(SLOTS, dtype=np.uint32)
    stamp = np.full(SLOTS, -1, dtype=np.int64)
    for r in range(rows):
        for g in range(counts.shape[1]):
            mine = np.int64(r) * counts.shape[1] + g
            has_zero = False
            for x in patterns[r, g * group : (g + 1) * group]:
                if x & np.uint32(0x7FFFFFFF) == 0:
                    has_zero = True
                    continue
                slot = np.int64(np.uint32(x * np.uint32(2654435769)) >> np.uint32(20))
                while stamp[slot] == mine and table[slot] != x:
                    slot = (slot + 1) % SLOTS
                if stamp[slot] != mine:
                    stamp[slot] = mine
                    table[slot] = x
                    counts[r, g] += 1
                    if counts[r, g] > limit:
                        break
            if has_zero and zeros:
                counts[r, g] += 1
    return counts
