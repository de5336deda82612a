"""Well-formed checkpoints of any dtype, written byte by byte, and tensors to put into them."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

Stored = tuple[str, tuple[int, ...], bytes]
"""A tensor as it lies in a file: dtype, shape, bytes."""

BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F4": 4, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F8_E8M0": 8,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64,
}  # fmt: skip
"""Bits per element of every dtype whose values can be measured."""


def write_file(path: Path, tensors: Mapping[str, Stored]) -> Path:
    """A safetensors file of these tensors, in this order."""
    header: dict[str, Any] = {}
    offset = 0
    for name, (dtype, shape, data) in tensors.items():
        end = offset + len(data)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    path.write_bytes(
        struct.pack("<Q", len(text)) + text + b"".join(data for *_, data in tensors.values())
    )
    return path


def write_shards(folder: Path, shards: list[Mapping[str, Stored]]) -> Path:
    """A directory of shards with their index."""
    folder.mkdir()
    names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    for name, tensors in zip(names, shards, strict=True):
        write_file(folder / name, tensors)
    weight_map = {
        tensor: name for name, tensors in zip(names, shards, strict=True) for tensor in tensors
    }
    total = sum(len(data) for tensors in shards for *_, data in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def stored(dtype: str, values: np.ndarray) -> Stored:
    """An array whose bytes are already those of the dtype."""
    return dtype, values.shape, values.tobytes()


def random_bytes(dtype: str, n: int, seed: int = 0) -> bytes:
    """n elements, every bit pattern as likely as any other."""
    return np.random.default_rng(seed).bytes(n * BITS[dtype] // 8)


def bf16(values: np.ndarray) -> np.ndarray:
    """Values cut to bfloat16, as their patterns."""
    return (np.ascontiguousarray(values, dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16)
