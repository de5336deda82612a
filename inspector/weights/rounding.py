"""Kernels that round a matrix to a grid, group by group, and keep nothing but the error.

Values are finite float32 [rows, columns]; groups lie along the columns, the last of a row may be
shorter. All arithmetic is in float64. Each rounding gives (sum of squared errors, largest error,
its row, its column).
"""

import typing

import numba
import numpy as np
from jaxtyping import Float

FAST = {"reassoc", "contract", "nnan", "nsz"}  # sums may be taken in any order: they vectorise


@numba.njit(nogil=True, cache=True, fastmath=FAST)
@typing.no_type_check
def extremes(values, group):
    """(lowest, highest) value of every group, as float64 [rows, groups]."""
    rows, columns = values.shape
    groups = (columns + group - 1) // group
    low = np.empty((rows, groups))
    high = np.empty((rows, groups))
    for r in range(rows):
        for g in range(groups):
            part = values[r, g * group : (g + 1) * group]
            least = most = part[0]
            for x in part:
                least = min(least, x)
                most = max(most, x)
            low[r, g] = least
            high[r, g] = most
    return low, high


@numba.njit(nogil=True, cache=True, fastmath=FAST)
@typing.no_type_check
def to_integers(values, group, scales, offsets, least, most):
    """Round to offset + scale * k, k a whole number from `least` to `most`."""
    rows, columns = values.shape
    total = worst = 0.0
    row = column = 0
    errors = np.empty(group)
    for r in range(rows):
        for g in range(scales.shape[1]):
            part = values[r, g * group : (g + 1) * group]
            scale = scales[r, g]
            inverse = 1.0 / scale if scale > 0.0 else 0.0
            offset = offsets[r, g]
            largest = 0.0
            for i in range(len(part)):
                x = np.float64(part[i]) - offset
                k = min(max(np.rint(x * inverse), least), most)
                error = abs(x - k * scale)
                errors[i] = error
                total += error * error
                largest = max(largest, error)
            if largest > worst:
                worst = largest
                row = r
                column = g * group + errors[: len(part)].argmax()
    return total, worst, row, column


@numba.njit(nogil=True, cache=True, fastmath=FAST)
@typing.no_type_check
def to_table(values, group, scales, table):
    """Round to scale * (the nearest entry of an ascending table of 16)."""
    middles = (table[1:] + table[:-1]) / 2
    total = worst = 0.0
    row = column = 0
    errors = np.empty(group)
    for r in range(values.shape[0]):
        for g in range(scales.shape[1]):
            part = values[r, g * group : (g + 1) * group]
            scale = scales[r, g]
            inverse = 1.0 / scale if scale > 0.0 else 0.0
            largest = 0.0
            for i in range(len(part)):
                x = np.float64(part[i]) * inverse
                k = 8 if x > middles[7] else 0
                k += 4 if x > middles[k + 3] else 0
                k += 2 if x > middles[k + 1] else 0
                k += 1 if x > middles[k] else 0
                error = abs(x - table[k]) * scale
                errors[i] = error
                total += error * error
                largest = max(largest, error)
            if largest > worst:
                worst = largest
                row = r
                column = g * group + errors[: len(part)].argmax()
    return total, worst, row, column


def float_steps(
    mantissa: int, lowest: int
) -> tuple[Float[np.ndarray, " 256"], Float[np.ndarray, " 256"]]:
    """(distance of neighbouring floats, its inverse) by the exponent bits of a float32."""
    exponent = np.maximum(np.arange(256) - 127, lowest)
    return np.ldexp(1.0, exponent - mantissa), np.ldexp(1.0, mantissa - exponent)


@numba.njit(nogil=True, cache=True, fastmath=FAST)
@typing.no_type_check
def to_floats(values, group, scales, steps, inverse_steps, top):
    """Round to scale * (the nearest float with these steps, saturating at `top`)."""
    total = worst = 0.0
    row = column = 0
    errors = np.empty(group)
    scaled = np.empty(group, dtype=np.float32)
    bits = scaled.view(np.uint32)
    for r in range(values.shape[0]):
        for g in range(scales.shape[1]):
            part = values[r, g * group : (g + 1) * group]
            scale = scales[r, g]
            inverse = 1.0 / scale if scale > 0.0 else 0.0
            for i in range(len(part)):
                scaled[i] = part[i] * inverse
            largest = 0.0
            for i in range(len(part)):
                x = np.float64(part[i])
                at = (bits[i] >> np.uint32(23)) & np.uint32(255)
                k = np.rint(x * inverse * inverse_steps[at]) * steps[at]
                error = abs(x - min(max(k, -top), top) * scale)
                errors[i] = error
                total += error * error
                largest = max(largest, error)
            if largest > worst:
                worst = largest
                row = r
                column = g * group + errors[: len(part)].argmax()
    return total, worst, row, column
