"""Counting kernels: a pass over the bytes that loses nothing an elementwise statistic needs.

Up to 16 bits the count of every pattern is kept. Of wider numbers the high 16 bits are counted
first, with the moments; the rest is refined bin by bin, which is a radix sort that stops as soon
as the answer is known.
"""

import typing

import numba
import numpy as np

BLOCK = 4096  # elements whose moments are taken together: they stay in the first-level cache


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def count_patterns(patterns, counts):
    """Add one to counts[p] for each pattern p; a uint32 array takes up to 2**32 - 1 of them."""
    for pattern in patterns:
        counts[pattern] += 1


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def count_nibbles(packed, counts):
    """Add one to counts[p] for each 4-bit pattern p of packed bytes."""
    for byte in packed:
        counts[byte & 15] += 1
        counts[byte >> 4] += 1


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def count_high(patterns, shift, counts):
    """Add one to counts[p >> shift] for each pattern p."""
    for pattern in patterns:
        counts[pattern >> shift] += 1


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def count_below(patterns, shift, prefix, counts):
    """Count the 16 bits above bit `shift` of the patterns whose higher bits equal `prefix`."""
    for pattern in patterns:
        if (pattern >> shift) >> 16 == prefix:
            counts[(pattern >> shift) & 0xFFFF] += 1


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def scatter(patterns, shift, position, low):
    """Lay the bits below `shift` of each pattern into `low`, bin by bin of its higher bits.

    position[bin] is where the bin's next element goes, negative for bins not wanted.
    """
    for pattern in patterns:
        high = pattern >> shift
        at = position[high]
        if at >= 0:
            low[at] = pattern
            position[high] = at + 1


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def gather(patterns, shift, prefix, position, held):
    """Lay each pattern that begins with `prefix` into `held`, bin by bin of the 16 bits after it.

    Those bits end at bit `shift`; `position` is as for `scatter`.
    """
    for pattern in patterns:
        high = pattern >> shift
        if high >> 16 == prefix:
            at = position[high & 0xFFFF]
            if at >= 0:
                held[at] = pattern
                position[high & 0xFFFF] = at + 1


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def tally_bins(low, begin, table, nlogn):
    """(distinct, sum of c log2 c) over all bins; low[begin[i]:begin[i+1]] are those of bin i.

    `table` holds 65,536 zeros and is left so; `nlogn` is c log2 c for small c. Small c come by the
    million: they are counted, since adding them up one by one would add up roundings.
    """
    distinct = 0
    total = 0.0
    often = np.zeros(len(nlogn), dtype=np.int64)
    for i in range(len(begin) - 1):
        for at in range(begin[i], begin[i + 1]):
            table[low[at]] += 1
        for at in range(begin[i], begin[i + 1]):
            count = table[low[at]]
            if count > 0:
                table[low[at]] = 0
                distinct += 1
                if count < len(nlogn):
                    often[count] += 1
                else:
                    total += count * np.log2(count)
    return distinct, total + (often * nlogn).sum()


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
@typing.no_type_check
def block_moments(values, moments):
    """Rows of (n, mean, S1, S2, S3, S4, sum |x|) per block of finite values; Sk = sum (x - mean)^k.

    Two passes over each block, so that nothing cancels; S1 is what rounding the mean left over.
    NaN and infinities are left out.
    """
    for block in range(len(moments)):
        part = values[block * BLOCK : (block + 1) * BLOCK]
        n = total = 0.0
        for x in part:
            finite = abs(x) < np.inf
            n += 1.0 if finite else 0.0
            total += np.float64(x) if finite else 0.0
        mean = total / n if n else 0.0
        s1 = s2 = s3 = s4 = l1 = 0.0
        for x in part:
            finite = abs(x) < np.inf
            d = np.float64(x) - mean if finite else 0.0
            s1 += d
            s2 += d * d
            s3 += d * d * d
            s4 += d * d * (d * d)
            l1 += abs(np.float64(x)) if finite else 0.0
        row = moments[block]
        row[0], row[1], row[2], row[3], row[4], row[5], row[6] = n, mean, s1, s2, s3, s4, l1
