"""How several roles, heads and experts lie inside one stored tensor, and how to take them out."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from inspector.weights.sizes import Sizes

Slice = tuple[int, int]  # start, stop


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One role inside a stored tensor: dimension `axis` seen as `split`, of which `index` is taken.

    `split` holds the sizes the dimension falls into, slowest first; `index` one (start, stop) for
    each. The part has `heads` heads of equal size along `axis`, None where that is unknown.
    """

    role: str
    axis: int
    split: tuple[int, ...]
    index: tuple[Slice, ...]
    heads: int | None = None

    @property
    def size(self) -> int:
        """Length of the part along `axis`."""
        return math.prod(stop - start for start, stop in self.index)


def take(array: np.ndarray, part: Part) -> np.ndarray:
    """The part as the array a separate tensor of its role would be; a view where strides allow.

    Same number of dimensions and orientation as `array`; along `part.axis` heads stand in order.
    """
    before, after = array.shape[: part.axis], array.shape[part.axis + 1 :]
    pieces = array.reshape(*before, *part.split, *after)
    chosen = (slice(None),) * part.axis + tuple(slice(*bounds) for bounds in part.index)
    taken: np.ndarray = pieces[chosen].reshape(*before, part.size, *after)
    return taken


def take_expert(array: np.ndarray, experts: int, expert: int) -> np.ndarray:
    """The matrix of one expert of a tensor that stacks `experts` along its first axis; a view."""
    if array.ndim > 2:
        matrix: np.ndarray = array[expert]
    else:
        matrix = array.reshape(experts, -1, *array.shape[1:])[expert]
    return matrix


def halves(axis: int, size: int, roles: tuple[str, str]) -> tuple[Part, ...]:
    """First half, second half."""
    return tuple(
        Part(role=role, axis=axis, split=(2, size // 2), index=((i, i + 1), (0, size // 2)))
        for i, role in enumerate(roles)
    )


def even_odd(axis: int, size: int, roles: tuple[str, str]) -> tuple[Part, ...]:
    """Even positions, odd positions."""
    return tuple(
        Part(role=role, axis=axis, split=(size // 2, 2), index=((0, size // 2), (i, i + 1)))
        for i, role in enumerate(roles)
    )


def thirds(axis: int, size: int, heads: int | None) -> tuple[Part, ...]:
    """One third each of q, k and v."""
    third = size // 3
    known = heads if heads and third % heads == 0 else None
    return tuple(
        Part(role=role, axis=axis, split=(3, third), index=((i, i + 1), (0, third)), heads=known)
        for i, role in enumerate("qkv")
    )


def blocks(axis: int, size: int, heads: int, kv_heads: int) -> tuple[Part, ...]:
    """All heads of q, then of k, then of v."""
    total = heads + 2 * kv_heads
    ends = (0, heads, heads + kv_heads, total)
    return tuple(
        Part(
            role=role,
            axis=axis,
            split=(total, size // total),
            index=((ends[i], ends[i + 1]), (0, size // total)),
            heads=ends[i + 1] - ends[i],
        )
        for i, role in enumerate("qkv")
    )


def grouped(axis: int, size: int, heads: int, kv_heads: int) -> tuple[Part, ...]:
    """Per kv head: the q heads that use it, then k, then v."""
    share = heads // kv_heads
    dim = size // (kv_heads * (share + 2))
    bounds = {"q": (0, share), "k": (share, share + 1), "v": (share + 1, share + 2)}
    return tuple(
        Part(
            role=role,
            axis=axis,
            split=(kv_heads, share + 2, dim),
            index=((0, kv_heads), at, (0, dim)),
            heads=kv_heads * (at[1] - at[0]),
        )
        for role, at in bounds.items()
    )


def codegen(axis: int, size: int, heads: int) -> tuple[Part, ...]:
    """Four slices for four devices, each q, v, k (in that order)."""
    part = size // 12
    return tuple(
        Part(
            role=role,
            axis=axis,
            split=(4, 3, part),
            index=((0, 4), (i, i + 1), (0, part)),
            heads=heads,
        )
        for role, i in (("q", 0), ("k", 2), ("v", 1))
    )


def latent(axis: int, heads: int, nope: int, v_dim: int) -> tuple[Part, ...]:
    """Per head: the part of k without position, then v (multi-head latent attention)."""
    total = nope + v_dim
    return (
        Part(role="k", axis=axis, split=(heads, total), index=((0, heads), (0, nope)), heads=heads),
        Part(
            role="v",
            axis=axis,
            split=(heads, total),
            index=((0, heads), (nope, total)),
            heads=heads,
        ),
    )


def query_and_gate(axis: int, size: int, heads: int) -> tuple[Part, ...]:
    """Per head: the query, then the gate of the attention output."""
    dim = size // (2 * heads)
    return tuple(
        Part(
            role=role,
            axis=axis,
            split=(heads, 2, dim),
            index=((0, heads), (i, i + 1), (0, dim)),
            heads=heads,
        )
        for i, role in enumerate(("q", "gate"))
    )


def variant(layout: str, config: Mapping[str, Any], sizes: Sizes) -> tuple[str, Sizes]:
    """Layout and sizes of a family whose fused layout depends on flags of the config."""
    one_kv_head = config.get("multi_query", True) is not False
    if layout == "falcon" and config.get("new_decoder_architecture") is True:
        return "grouped", sizes
    if layout in ("falcon", "bigcode"):
        kv_heads = 1 if one_kv_head else sizes.heads
        return "blocks" if one_kv_head else "grouped", dataclasses.replace(sizes, kv_heads=kv_heads)
    return layout, sizes


def fused_attention(
    layout: str, axis: int, shape: tuple[int, ...], sizes: Sizes
) -> tuple[Part, ...]:
    """q, k and v of a fused tensor along `axis`; empty when sizes and shape do not agree.

    Layouts: transformers 5.23 source.
    """
    size, heads = shape[axis], sizes.heads
    if layout == "thirds":
        square = len(shape) == 1 or size == 3 * shape[1 - axis]
        return thirds(axis, size, heads) if size % 3 == 0 and square else ()
    if heads is None:
        return ()
    if layout == "latent":
        nope, v_dim = sizes.nope, sizes.v_dim
        fits = nope and v_dim and heads * (nope + v_dim) == size
        return latent(axis, heads, nope, v_dim) if nope and v_dim and fits else ()
    if layout == "codegen":
        return codegen(axis, size, heads) if size % (3 * heads) == 0 and heads % 4 == 0 else ()
    kv_heads = sizes.kv_heads or heads
    if heads % kv_heads or size % (heads + 2 * kv_heads):
        return ()
    if sizes.head_dim not in (None, size // (heads + 2 * kv_heads)):
        return ()
    return {"blocks": blocks, "grouped": grouped}[layout](axis, size, heads, kv_heads)
