"""Codes and their scales back to values: the arithmetic of quantised storage, arrays only.

Everything is computed in float32. Sources: OCP Microscaling (MX) 1.0 for E2M1 and E8M0; the code of
AutoGPTQ, AutoAWQ, compressed-tensors and bitsandbytes for how each lays its codes out.
"""

import math

import numpy as np
from jaxtyping import Float, Integer, Shaped, UInt8

FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
E2M1 = np.array([*FP4, *(-x for x in FP4)], dtype=np.float32)  # by pattern: bit 3 is the sign
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # which of 8 columns the i-th nibble of a word belongs to


def nibbles(packed: UInt8[np.ndarray, "*rows n"]) -> UInt8[np.ndarray, "*rows n2"]:
    """Two codes per byte, the low four bits first."""
    both = np.stack([packed & 15, packed >> 4], axis=-1)
    return both.reshape(*packed.shape[:-1], -1)


def words(
    packed: Shaped[np.ndarray, "*rows n"], bits: int, count: int
) -> UInt8[np.ndarray, "*rows count"]:
    """The first `count` codes of 1 to 8 bits out of 32-bit words, lowest bits first, without gaps.

    A code may begin in one word and end in the next, as some of 3 bits do.
    """
    period = bits // math.gcd(bits, 32)  # words after which code and word begin together again
    share = 32 * period // bits
    short = -packed.shape[-1] % period
    padding = [(0, 0)] * (packed.ndim - 1) + [(0, short)]
    whole = np.pad(packed.view(np.uint32), padding)
    grouped = whole.reshape(*packed.shape[:-1], -1, period)
    codes = np.empty((*grouped.shape[:-1], share), dtype=np.uint8)
    for i in range(share):
        word, offset = divmod(i * bits, 32)
        code = grouped[..., word] >> np.uint32(offset)
        if offset + bits > 32:
            code = code | (grouped[..., word + 1] << np.uint32(32 - offset))
        codes[..., i] = code & np.uint32((1 << bits) - 1)
    return codes.reshape(*packed.shape[:-1], -1)[..., :count]


def awq_words(
    packed: Shaped[np.ndarray, "rows n"], bits: int, count: int
) -> UInt8[np.ndarray, "rows count"]:
    """The codes of AWQ's words, put back into the order of the columns."""
    stored = words(packed, bits, count).reshape(len(packed), -1, len(AWQ_ORDER))
    ordered = np.empty_like(stored)
    ordered[..., AWQ_ORDER] = stored
    return ordered.reshape(len(packed), -1)


def spread(
    grid: Shaped[np.ndarray, "high wide"], block: tuple[int, int], shape: tuple[int, int]
) -> Shaped[np.ndarray, "rows columns"]:
    """One entry of the grid for every value of its block; the last blocks may be cut short.

    A single row stays one row, to be broadcast.
    """
    across = grid if grid.shape[1] == shape[1] else np.repeat(grid, block[1], axis=1)
    across = across[:, : shape[1]]
    if len(grid) == 1 or block[0] == 1:
        return across
    return np.repeat(across, block[0], axis=0)[: shape[0]]


def affine(
    codes: UInt8[np.ndarray, "rows columns"],
    zeros: Integer[np.ndarray, "rows groups"],
    scales: Float[np.ndarray, "rows groups"],
    group_of: Integer[np.ndarray, " columns"],
) -> Float[np.ndarray, "rows columns"]:
    """Values scale (code - zero), scale and zero being those of the group an input belongs to."""
    values = codes.astype(np.float32)
    values -= zeros.astype(np.float32)[:, group_of]
    values *= scales[:, group_of]
    return values


def lookup(
    codes: UInt8[np.ndarray, " n"],
    table: Float[np.ndarray, " levels"],
    scales: Float[np.ndarray, " blocks"],
    block: int,
) -> Float[np.ndarray, " n"]:
    """table[code] times the scale of its block, blocks counted over the flattened tensor."""
    values: np.ndarray = table.astype(np.float32)[codes]
    whole = len(values) // block
    values[: whole * block].reshape(whole, block)[...] *= scales[:whole, None]
    values[whole * block :] *= scales[whole : whole + 1]
    return values
