"""Quantised tensors written value by value: slow, plain and independent."""

import json

import numpy as np
import torch
from weights.build import Stored, stored

DTYPES = {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}
FP4 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0]
AWQ = [0, 2, 4, 6, 1, 3, 5, 7]


def fp8(values: np.ndarray, dtype: str = "F8_E4M3") -> tuple[Stored, np.ndarray]:
    """(codes, what they are worth), both by torch."""
    codes = torch.from_numpy(values.astype(np.float32)).to(DTYPES[dtype])
    return (dtype, values.shape, codes.view(torch.uint8).numpy().tobytes()), codes.float().numpy()


def fp8_blocks(
    source: np.ndarray, high: int, wide: int, dtype: str = "F8_E4M3"
) -> tuple[Stored, np.ndarray, np.ndarray]:
    """(codes, scales, values) with one scale per block, the last blocks cut short."""
    rows, columns = source.shape
    scales = np.empty((-(-rows // high), -(-columns // wide)), np.float32)
    codes, values = np.empty_like(source), np.empty_like(source)
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            at = np.s_[i * high : (i + 1) * high, j * wide : (j + 1) * wide]
            scales[i, j] = np.abs(source[at]).max() / 448
            codes[at] = source[at] / scales[i, j]
            values[at] = fp8(codes[at], dtype)[1] * scales[i, j]
    return fp8(codes, dtype)[0], scales, values


def pack_words(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes of one row after another into 32-bit words, bit by bit."""
    rows, n = codes.shape
    packed = np.zeros((rows, -(-n * bits // 32)), np.uint32)
    for r in range(rows):
        number = sum(int(code) << (bits * i) for i, code in enumerate(codes[r]))
        for w in range(packed.shape[1]):
            packed[r, w] = (number >> (32 * w)) & 0xFFFFFFFF
    return packed.view(np.int32)


def gptq(
    rows: int,
    columns: int,
    bits: int,
    group_of: np.ndarray,
    rng: np.random.Generator,
    plus: int = 1,
) -> tuple[dict[str, Stored], np.ndarray]:
    """(tensors of a GPTQ layer, values [out, in])."""
    groups = int(group_of.max()) + 1
    codes = rng.integers(0, 1 << bits, (columns, rows))
    zeros = rng.integers(plus, (1 << bits) + plus, (groups, rows))
    scales = rng.uniform(0.01, 0.02, (groups, rows)).astype(np.float16)
    values = np.empty((rows, columns), np.float32)
    for r in range(rows):
        for c in range(columns):
            g = group_of[c]
            values[r, c] = np.float32(scales[g, r]) * np.float32(codes[c, r] - zeros[g, r])
    return {
        "qweight": stored("I32", np.ascontiguousarray(pack_words(codes.T, bits).T)),
        "qzeros": stored("I32", pack_words(zeros - plus, bits)),
        "scales": stored("F16", scales),
        "g_idx": stored("I32", group_of.astype(np.int32)),
    }, values


def awq(
    rows: int, columns: int, group: int, rng: np.random.Generator
) -> tuple[dict[str, Stored], np.ndarray]:
    """(tensors of an AWQ layer, values [out, in])."""
    groups = columns // group
    codes = rng.integers(0, 16, (columns, rows))
    zeros = rng.integers(0, 16, (groups, rows))
    scales = rng.uniform(0.01, 0.02, (groups, rows)).astype(np.float16)

    def pack(array: np.ndarray) -> np.ndarray:
        packed = np.zeros((len(array), rows // 8), np.uint32)
        for word in range(rows // 8):
            for i, column in enumerate(AWQ):
                packed[:, word] |= array[:, 8 * word + column].astype(np.uint32) << np.uint32(4 * i)
        return packed.view(np.int32)

    spread = np.repeat(np.arange(groups), group)
    values = scales.astype(np.float32)[spread] * (codes - zeros[spread]).astype(np.float32)
    return {
        "qweight": stored("I32", pack(codes)),
        "qzeros": stored("I32", pack(zeros)),
        "scales": stored("F16", scales),
    }, np.ascontiguousarray(values.T)


def int_words(
    rows: int, columns: int, bits: int, group: int, zero_points: bool, rng: np.random.Generator
) -> tuple[dict[str, Stored], np.ndarray]:
    """(tensors of a layer packed by compressed-tensors, values [out, in])."""
    half, groups = 1 << (bits - 1), -(-columns // group)
    codes = rng.integers(-half, half, (rows, columns))
    zeros = rng.integers(-half, half, (rows, groups)) * zero_points
    scales = rng.uniform(0.01, 0.02, (rows, groups)).astype(np.float32)
    at = np.arange(columns) // group
    tensors = {
        "weight_packed": stored("I32", pack_words(codes + half, bits)),
        "weight_scale": stored("F32", scales),
        "weight_shape": stored("I64", np.array([rows, columns])),
    }
    if zero_points:
        held = np.ascontiguousarray(pack_words((zeros + half).T, bits).T)
        tensors["weight_zero_point"] = stored("I32", held)
    return tensors, scales[:, at] * (codes - zeros[:, at]).astype(np.float32)


def fp4_bytes(codes: np.ndarray) -> np.ndarray:
    """Two codes per byte, low four bits first."""
    return (codes[..., 0::2] | codes[..., 1::2] << 4).astype(np.uint8)


def bitsandbytes(
    rows: int, columns: int, table: np.ndarray, nested: bool, rng: np.random.Generator
) -> tuple[dict[str, Stored], np.ndarray]:
    """(a 4-bit weight and what lies beside it, values [out, in]), blocks of 64."""
    total = rows * columns
    codes = rng.integers(0, 16, total).astype(np.uint8)
    blocks = -(-total // 64)
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [rows, columns]}
    tensors: dict[str, Stored] = {}
    if nested:
        inner = rng.integers(0, 256, blocks).astype(np.uint8)
        outer = rng.uniform(0.01, 0.02, -(-blocks // 256)).astype(np.float32)
        dynamic = np.linspace(-1, 1, 256).astype(np.float32)
        absmax = np.array(
            [dynamic[code] * outer[i // 256] + np.float32(0.05) for i, code in enumerate(inner)],
            dtype=np.float32,
        )
        state |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.05}
        tensors |= {
            "weight.absmax": stored("U8", inner),
            "weight.nested_absmax": stored("F32", outer),
            "weight.nested_quant_map": stored("F32", dynamic),
        }
    else:
        absmax = rng.uniform(0.02, 0.08, blocks).astype(np.float32)
        tensors["weight.absmax"] = stored("F32", absmax)
    note = np.frombuffer(json.dumps(state).encode(), np.uint8)
    both = np.append(codes, np.zeros(total % 2, np.uint8))
    tensors |= {
        "weight": stored("U8", (both[0::2] << 4 | both[1::2])[:, None]),
        "weight.quant_map": stored("F32", table.astype(np.float32)),
        "weight.quant_state.bitsandbytes__nf4": stored("U8", note),
    }
    values = np.array(
        [table[code] * absmax[i // 64] for i, code in enumerate(codes)], dtype=np.float32
    )
    return tensors, values.reshape(rows, columns)
