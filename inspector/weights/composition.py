"""How much the heads of one layer read what those of an earlier layer wrote, from weights alone."""

import dataclasses
import re
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float

from inspector.weights.gains import OTHER_SOURCES
from inspector.weights.heads import Attention, Roots, fits_ov, fits_qk, name_of
from inspector.weights.partners import Group

MOST_WORK = 5e11  # floating-point operations: seconds on one core
DIGITS = re.compile(r"[0-9]+")
WAYS = ("q", "k", "v")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Composition:
    """One head reading from an earlier one through its query, key or value input ("q", "k", "v").

    `score` is ||AB|| / (||A|| ||B||) in Frobenius norms, in [0, 1], with A what the later head
    does with its input (QKᵀ, QK or OV) and B the OV of the earlier one; `noise` is its value for
    unrelated heads, 1 / sqrt(width). Norms between the layers are left out. Source: Elhage et
    al. 2021.
    """

    name: str
    layer: int | None
    role: str
    head: int
    from_layer: int | None
    from_head: int
    through: str
    score: float
    noise: float


def line(group: Group) -> Hashable:
    """What attentions have in common of which each reads what those before wrote; None: alone."""
    q, k, v, o = (group[role] for role in ("q", "k", "v", "o"))
    if not set(name_of(group).split(".")).isdisjoint(OTHER_SOURCES):
        return None  # reads what the encoder wrote last
    if {k.columns, v.columns, o.rows} != {q.columns} or not (fits_qk(group) and fits_ov(group)):
        return None
    return q.stack, q.columns, q.rows, k.rows, o.columns, DIGITS.sub("#", name_of(group))


def work(groups: Sequence[Group], lines: Sequence[Hashable]) -> float:
    """Floating-point operations for all pairs of attentions in a line."""
    total = 0.0
    for kind, count in Counter(lines).items():
        if kind is not None:
            group = groups[lines.index(kind)]
            wide, width = max(group["q"].rows, group["o"].columns), group["q"].columns
            each = wide * wide * (2 * width + 4 * (wide // (group["q"].heads or 1)))
            total += count * (count - 1) / 2 * len(WAYS) * each
    return total


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """What composing needs of an attention: its inputs, what it writes, and roots."""

    attention: Attention
    roots: Roots


def compose(later: Side, earlier: Side) -> list[Composition]:
    """The scores of every head of `later` with every head of `earlier`, through q, k and v."""
    o = earlier.attention.o
    share = earlier.attention.share
    written_from = np.repeat(earlier.roots.v, share, axis=0)  # root of v, for each head
    ov_before = _norms(earlier.roots.o, written_from)
    shared = later.attention.share
    k_roots, v_roots = (
        np.repeat(roots, shared, axis=0) for roots in (later.roots.k, later.roots.v)
    )
    ways = {  # through: (root of the factor on the far side, factor that reads)
        "q": (k_roots, later.attention.q),
        "k": (later.roots.q, np.repeat(later.attention.k, shared, axis=0)),
        "v": (later.roots.o, np.repeat(later.attention.v, shared, axis=0)),
    }
    qk = _norms(later.roots.q, k_roots)
    norms = {"q": qk, "k": qk, "v": _norms(later.roots.o, v_roots)}
    found = []
    for through, (far, reads) in ways.items():
        scores = _scores(far, reads, o, written_from) / np.outer(norms[through], ov_before)
        found += [
            _record(later, earlier, through, head, from_head, float(score))
            for (head, from_head), score in np.ndenumerate(scores)
            if np.isfinite(score)
        ]
    return found


def _record(
    later: Side, earlier: Side, through: str, head: int, from_head: int, score: float
) -> Composition:
    return Composition(
        name=later.attention.name,
        layer=later.attention.group["q"].layer,
        role="attention",
        head=head,
        from_layer=earlier.attention.group["q"].layer,
        from_head=from_head,
        through=through,
        score=score,
        noise=later.attention.q.shape[2] ** -0.5,
    )


def _norms(
    left: Float[np.ndarray, "heads size size"], right: Float[np.ndarray, "heads size size"]
) -> Float[np.ndarray, " heads"]:
    """Frobenius norm of the product of each head; NaN for zero, which composes with nothing."""
    norms = np.linalg.norm(left @ right.transpose(0, 2, 1), axis=(1, 2))
    return np.where(norms > 0, norms, np.nan)


def _scores(
    far: Float[np.ndarray, "later size size"],
    reads: Float[np.ndarray, "later size width"],
    writes: Float[np.ndarray, "earlier from_size width"],
    written_from: Float[np.ndarray, "earlier from_size from_size"],
) -> Float[np.ndarray, "later earlier"]:
    """||far (reads writesᵀ) written_fromᵀ|| for each pair of heads."""
    found = np.empty((len(reads), len(writes)))
    turned = written_from.transpose(0, 2, 1)
    flat = writes.reshape(-1, writes.shape[2])
    for head, (root, factor) in enumerate(zip(far, reads, strict=True)):
        met = (factor @ flat.T).astype(np.float64)
        met = met.reshape(len(factor), *writes.shape[:2]).transpose(1, 0, 2)
        found[head] = np.linalg.norm(root @ met @ turned, axis=(1, 2))
    return found
