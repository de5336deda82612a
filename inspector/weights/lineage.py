"""Which tensor of one checkpoint became which of another, where the names differ."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from inspector.weights.checkpoint import Reader
from inspector.weights.header import TensorEntry
from inspector.weights.pairs import Pair, SideBySide

SAMPLE = 4096  # bytes at the beginning, the middle and the end of a tensor that are looked at first
SMALL = 2**16  # bytes of a tensor that is looked at whole: one read instead of three
LEAST_ALIKE = 2  # tensors that must share a change of prefix before it is believed


def by_content(
    sources: Mapping[str, TensorEntry],
    targets: Mapping[str, TensorEntry],
    source_reader: Reader,
    target_reader: Reader,
    once: bool,
) -> dict[str, str]:
    """Target name -> source name where both hold the same bytes, dtype and shape.

    A few bytes are sampled first, then all are compared. Among equals the source whose name is
    most alike is taken; with `once` each only one time.
    """
    forms = {_form(entry) for entry in targets.values()}
    known: dict[bytes, list[str]] = {}
    for name, entry in sources.items():
        if _form(entry) in forms and entry.bytes and not entry.unreadable:
            known.setdefault(_fingerprint(entry, source_reader), []).append(name)
    found: dict[str, str] = {}
    side = SideBySide(source_reader, target_reader)
    for name, entry in targets.items() if known else ():
        if not entry.bytes or entry.unreadable:
            continue
        alike = known.get(_fingerprint(entry, target_reader), [])
        for source in sorted(alike, key=lambda other: -_likeness(other, name)):
            pair = Pair(base=sources[source], tuned=entry)
            side.look_ahead([pair])
            if side.same_bytes(pair):
                found[name] = source
                if once:
                    alike.remove(source)
                break
    return found


def _form(entry: TensorEntry) -> tuple[str, tuple[int, ...]]:
    return entry.dtype, entry.shape


def _fingerprint(entry: TensorEntry, reader: Reader) -> bytes:
    """A hash of dtype, shape and a few of the bytes."""
    hashed = hashlib.blake2b(repr(_form(entry)).encode(), digest_size=16)
    size = entry.bytes if entry.bytes <= SMALL else SAMPLE
    last = entry.bytes - size
    for start in sorted({0, last // 2, last}):
        part = bytearray(size)
        reader.read_into(entry.file, entry.start + start, memoryview(part))
        hashed.update(part)
    return hashed.digest()


def _likeness(one: str, other: str) -> int:
    """How many parts of two names are the same, counted from the end and from the beginning."""
    first, second = one.split("."), other.split(".")
    return _common(first[::-1], second[::-1]) + _common(first, second)


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def by_prefix(
    sources: Mapping[str, TensorEntry], targets: Mapping[str, TensorEntry]
) -> dict[str, str]:
    """Target name -> source name where one change of prefix turns many names into others.

    Shapes must agree. The change that explains most names is taken first, until none is left that
    explains LEAST_ALIKE.
    """
    left, right = dict(sources), dict(targets)
    found: dict[str, str] = {}
    while left and right:
        ends: dict[str, list[str]] = {}
        for name in left:
            for end in _ends(name):
                ends.setdefault(end, []).append(name)
        votes: Counter[tuple[str, str]] = Counter()
        for name, entry in right.items():
            shared = next((end for end in _ends(name) if end in ends), None)
            if shared is None:
                continue
            for source in ends[shared]:
                if left[source].shape == entry.shape:
                    votes[source.removesuffix(shared), name.removesuffix(shared)] += 1
        if not votes:
            break
        (old, new), count = votes.most_common(1)[0]
        if count < LEAST_ALIKE:
            break
        for name in [n for n in right if n.startswith(new)]:
            source = old + name.removeprefix(new)
            if source in left and left[source].shape == right[name].shape:
                found[name] = source
                del left[source], right[name]
    return found


def _ends(name: str) -> Iterator[str]:
    """The name, then what is left of it as parts are taken away from the front."""
    parts = name.split(".")
    for i in range(len(parts)):
        yield ".".join(parts[i:])


def arrangement(base: np.ndarray, tuned: np.ndarray) -> str | None:
    """How the values of one tensor, as patterns, were moved about in another; None: not so.

    Rows are those of the first axis, columns all behind it.
    """
    if base.ndim == 2 and base.shape == tuned.shape[::-1] and np.array_equal(base.T, tuned):
        return "transposed"
    if base.shape != tuned.shape:
        return "values in another order" if _same_set(base.ravel(), tuned.ravel()) else None
    one, other = (array.reshape(len(array), -1) for array in (base, tuned))
    if _same_set(_rows(one), _rows(other)):
        return "rows in another order" if base.ndim > 1 else "values in another order"
    if base.ndim > 1 and _same_set(_rows(one.T), _rows(other.T)):
        return "columns in another order"
    if _same_set(one.ravel(), other.ravel()):
        return "values in another order"
    return None


def _rows(array: np.ndarray) -> np.ndarray:
    """One value per row that tells it from every other."""
    whole = np.ascontiguousarray(array)
    return whole.view(f"V{whole.shape[1] * whole.itemsize}").ravel()


def _same_set(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether both hold the same items as often."""
    return _counted(one) == _counted(other)


def _counted(items: np.ndarray) -> Iterable[object]:
    if items.dtype.kind == "V":
        return Counter(hashlib.blake2b(item.tobytes(), digest_size=16).digest() for item in items)
    return np.sort(items).tobytes()
