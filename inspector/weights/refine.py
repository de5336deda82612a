"""What lies below the 16 leading bits of wide patterns: a radix sort that keeps what is asked."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from jaxtyping import Float, Integer, UInt

from inspector.weights import counts as kernels
from inspector.weights.formats import decode, top

GATHER = 2**25  # bytes of low bits that are sorted out at a time
NLOGN = np.arange(256) * np.log2(np.maximum(np.arange(256), 1))

Chunks = Callable[[], Iterator[Integer[np.ndarray, " n"]]]
"""Gives the patterns of a tensor from the start, a chunk at a time; called once per pass."""

Wanted = Mapping[int, tuple[int, ...]]
"""High bins to look into, and the places among a bin's ordered values of which one is asked for."""

Alike = Callable[[Float[np.ndarray, " n"]], Integer[np.ndarray, " n"]]
"""Gives each value a number; ordered values in a row that have the same need not be told apart."""

Runs = tuple[Integer[np.ndarray, " n"], Integer[np.ndarray, " n"]]
"""Patterns, lowest first, and how often each stands, or all of the run that begins with it."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Refined:
    """Totals over all bins, and the bits below the top in the bins wanted."""

    distinct: int
    nlogn: float
    bins: Mapping[int, Runs]


def refine_32(counts: UInt[np.ndarray, " bins"], wanted: Wanted, chunks: Chunks) -> Refined:
    """Low halves of 32-bit patterns, laid out by high half."""
    distinct, nlogn, bins = 0, 0.0, {}
    table = np.zeros(1 << 16, dtype=np.uint32)
    most = GATHER // 2
    for group in _groups(counts, most):
        begin, position = _layout(counts, group)
        if begin[-1] > most:  # a single bin too large to lay out: count it in place
            below = np.zeros(1 << 16, dtype=np.uint64)
            for patterns in chunks():
                kernels.count_below(patterns, 0, int(group[0]), below)
            used = np.flatnonzero(below)
            distinct += len(used)
            nlogn += float((below[used] * np.log2(below[used])).sum())
            bins[int(group[0])] = (used, below[used].astype(np.int64))
            continue
        low = np.empty(begin[-1], dtype=np.uint16)
        for patterns in chunks():
            kernels.scatter(patterns, 16, position, low)
        more, total = kernels.tally_bins(low, begin, table, NLOGN)
        distinct, nlogn = distinct + more, nlogn + total
        for i in np.flatnonzero(np.isin(group, list(wanted))):
            bins[int(group[i])] = np.unique(low[begin[i] : begin[i + 1]], return_counts=True)
    return Refined(distinct=distinct, nlogn=nlogn, bins=bins)


def refine_64(
    dtype: str, counts: UInt[np.ndarray, " bins"], wanted: Wanted, alike: Alike, chunks: Chunks
) -> Refined:
    """64-bit patterns sorted a piece at a time; bins are kept as runs, since all might differ."""
    backwards = top(dtype).backwards
    below = (1 << 48) - 1
    distinct, nlogn = 0, 0.0
    kept: dict[int, list[Runs]] = {}
    seen = dict.fromkeys(wanted, 0)
    for patterns, c in _sorted(0, 48, counts, chunks):
        distinct += len(patterns)
        repeated = c[c > 1]
        nlogn += float((repeated * np.log2(repeated)).sum())
        for bin, places in wanted.items():
            begin = np.searchsorted(patterns, np.uint64(bin << 48))
            end = np.searchsorted(patterns, np.uint64(bin << 48 | below), side="right")
            if begin == end:
                continue
            last = int(counts[bin]) - 1
            asked = np.array([last - p if backwards[bin] else p for p in places], dtype=np.int64)
            starts = _starts(
                alike(decode(dtype, patterns[begin:end])), c[begin:end], asked - seen[bin]
            )
            low = (patterns[begin:end][starts] & np.uint64(below)).astype(np.int64)
            kept.setdefault(bin, []).append((low, np.add.reduceat(c[begin:end], starts)))
            seen[bin] += int(c[begin:end].sum())
    bins = {
        bin: (np.concatenate([low for low, _ in runs]), np.concatenate([c for _, c in runs]))
        for bin, runs in kept.items()
    }
    return Refined(distinct=distinct, nlogn=nlogn, bins=bins)


def _starts(
    kinds: Integer[np.ndarray, " n"],
    counts: Integer[np.ndarray, " n"],
    asked: Integer[np.ndarray, " asked"],
) -> Integer[np.ndarray, " starts"]:
    """Where runs begin: of patterns that are alike, and of the single ones at the places asked."""
    ends = np.cumsum(counts)
    at = np.searchsorted(ends, asked[(asked >= 0) & (asked < ends[-1])], side="right")
    starts = np.unique(np.concatenate([[0], np.flatnonzero(np.diff(kinds)) + 1, at, at + 1]))
    return starts[starts < len(counts)]


def _sorted(
    prefix: int, shift: int, counts: UInt[np.ndarray, " bins"], chunks: Chunks
) -> Iterator[Runs]:
    """The distinct 64-bit patterns that begin with `prefix`, in pieces, lowest first.

    `counts` are those of the 16 bits after the prefix, above bit `shift`.
    """
    most = GATHER // 16  # what sorting copies counts too
    for group in _groups(counts, most):
        begin, position = _layout(counts, group)
        if not shift:
            leading = np.uint64(prefix) << np.uint64(16)
            yield leading | group.astype(np.uint64), counts[group].astype(np.int64)
        elif begin[-1] > most:  # a single bin too large to sort: split it by its next 16 bits
            first = prefix << 16 | int(group[0])
            deeper = np.zeros(1 << 16, dtype=np.uint64)
            for patterns in chunks():
                kernels.count_below(patterns, np.uint64(shift - 16), np.uint64(first), deeper)
            yield from _sorted(first, shift - 16, deeper, chunks)
        else:
            held = np.empty(begin[-1], dtype=np.uint64)
            for patterns in chunks():
                kernels.gather(patterns, np.uint64(shift), np.uint64(prefix), position, held)
            held.sort()
            starts = np.flatnonzero(np.concatenate([[True], held[1:] != held[:-1]]))
            yield held[starts], np.diff(starts, append=len(held))


def _groups(
    counts: UInt[np.ndarray, " bins"], most: int
) -> Iterator[Integer[np.ndarray, " group"]]:
    """Runs of used bins with at most `most` elements together; a larger bin stands alone."""
    used = np.flatnonzero(counts)
    start, held = 0, 0
    for i, count in enumerate(counts[used].tolist()):
        if held and held + count > most:
            yield used[start:i]
            start, held = i, 0
        held += count
    if held:
        yield used[start:]


def _layout(
    counts: UInt[np.ndarray, " bins"], group: Integer[np.ndarray, " group"]
) -> tuple[Integer[np.ndarray, " ends"], Integer[np.ndarray, " bins"]]:
    """(where each bin of a group begins, and the end; the same by bin, -1 for bins of others)."""
    begin = np.concatenate([[0], np.cumsum(counts[group].astype(np.int64))])
    position = np.full(1 << 16, -1, dtype=np.int64)
    position[group] = begin[:-1]
    return begin, position
