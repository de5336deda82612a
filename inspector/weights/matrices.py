"""Every matrix of a checkpoint, one at a time: fused tensors and stacked experts by their parts."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
import threadpoolctl

from inspector.errors import BadOption
from inspector.results import Coverage, Skipped, show_plain
from inspector.weights.architecture import Placement
from inspector.weights.checkpoint import Checkpoint, Reader
from inspector.weights.codes import Packed
from inspector.weights.formats import FORMATS, UNREADABLE, top
from inspector.weights.header import TensorEntry
from inspector.weights.layouts import Part, take, take_expert
from inspector.weights.packed import find_packed, packed_placements, read_packed
from inspector.weights.scan import choose, read_patterns
from inspector.weights.storage import LocalReader

KINDS = ("weight", "embedding", "other")
RATES = ("A_log",)
BLOCK = 2**20  # elements of a block: 8 MB as float64
LARGE = 2**24  # bytes: a larger tensor that lies across the blocks is read in many small pieces


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Matrix:
    """One matrix of a checkpoint: a tensor, or the part or expert of one.

    `rows` are outputs and `columns` inputs, whatever the file's orientation; of an embedding
    vocabulary and width. `heads` is how many lie along the rows of q, k and v and along the
    columns of o; None where unknown. `stacked` is the index of the expert in a tensor of many.
    `shape` is that of the whole tensor: where `packed`, of the values its codes stand for.
    """

    name: str
    entry: TensorEntry
    shape: tuple[int, ...]
    packed: Packed | None
    placement: Placement
    part: Part | None
    stacked: int | None
    expert: int | None
    layer: int | None
    stack: str | None
    role: str
    kind: str
    rows: int
    columns: int
    heads: int | None


def matrices(
    checkpoint: Checkpoint, where: str | None = None
) -> tuple[list[Matrix], list[Skipped]]:
    """Every matrix of the tensors whose name `where` finds, and why each other one is none."""
    found: list[Matrix] = []
    skipped: list[Skipped] = []
    placements = checkpoint.architecture.placements
    packed = find_packed(checkpoint)
    unpacked = packed_placements(checkpoint, packed)
    for entry in choose(checkpoint.tensors, where):
        codes = packed.get(entry.name)
        if why := _why_not(entry, placements[entry.name], codes):
            skipped.append(Skipped(name=show_plain(entry.name), reason=why))
        else:
            placement = unpacked.get(entry.name, placements[entry.name])
            found.extend(_pieces(entry, placement, codes))
    return found, skipped


def _why_not(entry: TensorEntry, placement: Placement, packed: Packed | None) -> str | None:
    """Why a tensor is no matrix to be judged; None when it is one."""
    if why := entry.unreadable or UNREADABLE.get(entry.dtype):
        return why
    if placement.alias_of is not None:
        return f"stored twice: it is measured as {show_plain(placement.alias_of)}"
    if placement.kind not in KINDS:
        return f"a {placement.kind}, not a matrix of weights"
    if len(entry.shape) < 2 or (len(entry.shape) > 2 and max(entry.shape) == entry.parameters):
        return "a vector or a number, not a matrix"
    if entry.name.rpartition(".")[2] in RATES:
        return "rates of a state space, which multiply no input: not a matrix of weights"
    if 0 in entry.shape:
        return "it holds no values"
    if packed is not None:
        return packed.problem
    if FORMATS[entry.dtype].kind != "float":
        return f"{entry.dtype} values are codes or indices, not weights"
    return None


def _pieces(entry: TensorEntry, placement: Placement, packed: Packed | None) -> Iterator[Matrix]:
    shape = packed.shape if packed else entry.shape
    stacked: Sequence[int | None] = range(placement.experts) if placement.experts else [None]
    for index in stacked:
        for part in placement.parts or (None,):
            rows, columns = _size(shape, placement, part)
            labels = [] if index is None else [f"expert {index}"]
            labels += [] if part is None else [part.role]
            role = part.role if part else placement.role
            yield Matrix(
                name=f"{entry.name}[{', '.join(labels)}]" if labels else entry.name,
                entry=entry,
                shape=shape,
                packed=packed,
                placement=placement,
                part=part,
                stacked=index,
                expert=placement.expert if index is None else index,
                layer=placement.layer,
                stack=placement.stack,
                role=role,
                kind=placement.kind,
                rows=rows,
                columns=columns,
                heads=_heads(placement, part, role, rows, columns),
            )


def _turned(placement: Placement) -> bool:
    """Whether the file holds [in, out] of a matrix y = x W."""
    return placement.orientation == "in_out" and placement.kind != "embedding"


def _slab(shape: tuple[int, ...], placement: Placement) -> tuple[int, ...]:
    """Shape of what lies together in the file: the tensor, or one expert of it."""
    if not placement.experts:
        return shape
    if len(shape) > 2:
        return shape[1:]
    return (shape[0] // placement.experts, shape[1])


def _part_in_slab(shape: tuple[int, ...], placement: Placement, part: Part) -> Part:
    """The part with its axis counted in the slab."""
    return dataclasses.replace(part, axis=part.axis - (len(shape) - len(_slab(shape, placement))))


def _size(shape: tuple[int, ...], placement: Placement, part: Part | None) -> tuple[int, int]:
    slab = list(_slab(shape, placement))
    if part:
        slab[_part_in_slab(shape, placement, part).axis] = part.size
    rows, columns = slab[0], math.prod(slab[1:])
    return (columns, rows) if _turned(placement) else (rows, columns)


def _heads(
    placement: Placement, part: Part | None, role: str, rows: int, columns: int
) -> int | None:
    if part is not None:
        return part.heads
    heads = placement.kv_heads if role in ("k", "v") else placement.heads
    along = columns if role == "o" else rows
    return heads if heads and role in ("q", "k", "v", "o") and along % heads == 0 else None


def ahead(found: Sequence[Matrix]) -> list[TensorEntry]:
    """The tensors that will be read for these matrices, each once, for `Checkpoint.reader`."""
    return list(dict.fromkeys(matrix.entry for matrix in found))


def load(matrix: Matrix, reader: Reader) -> np.ndarray:
    """The values as [out, in], float32 (float64 where the file holds that); maybe a view."""
    stored = _stored(matrix, reader)
    return stored if matrix.packed else to_float(matrix.entry.dtype, stored)


def blocks(matrix: Matrix, reader: Reader) -> Iterator[np.ndarray]:
    """The values in pieces of at most BLOCK elements along the longer side, which is the rows.

    A whole tensor whose longer side is the slower one in the file is read piece by piece, and so is
    any large one from a disk; of another the stored bytes (of codes the values) are held at once.
    """
    short = min(matrix.rows, matrix.columns)
    step = max(BLOCK // short, 1)
    entry = matrix.entry
    slow = entry.shape[0]
    whole = matrix.part is None and matrix.stacked is None and matrix.packed is None
    if whole and slow * short == entry.parameters:
        for start in range(0, slow, step):
            stop = min(start + step, slow)
            patterns = read_patterns(entry, reader, start * short, stop * short)
            yield to_float(entry.dtype, patterns.reshape(-1, short))
        return
    if whole and entry.bytes > LARGE and isinstance(reader, LocalReader):
        for start in range(0, entry.parameters // slow, step):
            yield to_float(entry.dtype, _columns(entry, reader, start, start + step)).T
        return
    stored = _stored(matrix, reader)
    tall = stored if matrix.rows >= matrix.columns else stored.T
    for start in range(0, len(tall), step):
        piece = tall[start : start + step]
        yield piece if matrix.packed else to_float(entry.dtype, piece)


def _columns(entry: TensorEntry, reader: Reader, start: int, stop: int) -> np.ndarray:
    """Patterns of some columns of a tensor, of which every row is a read of its own."""
    rows = entry.shape[0]
    columns = entry.parameters // rows
    return np.stack(
        [
            read_patterns(entry, reader, row * columns + start, row * columns + min(stop, columns))
            for row in range(rows)
        ]
    )


def _stored(matrix: Matrix, reader: Reader) -> np.ndarray:
    """The stored patterns as [out, in]; of a packed tensor the values."""
    entry, placement, shape = matrix.entry, matrix.placement, matrix.shape
    slab = _slab(shape, placement)
    if matrix.packed is not None:
        array = read_packed(matrix.packed, reader, matrix.stacked if len(shape) > 2 else None)
        if matrix.stacked is not None and len(shape) == 2:
            array = take_expert(array, placement.experts or 1, matrix.stacked)
    else:
        size = math.prod(slab)
        first = (matrix.stacked or 0) * size
        array = read_patterns(entry, reader, first, first + size).reshape(slab)
    if matrix.part is not None:
        array = take(array, _part_in_slab(shape, placement, matrix.part))
    array = array.reshape(array.shape[0], -1)
    return array.T if _turned(placement) else array


def to_float(dtype: str, patterns: np.ndarray) -> np.ndarray:
    """Patterns as float32, which holds every value of the dtype; F64 as float64."""
    if dtype == "BF16":
        wide = patterns.astype(np.uint32)
        wide <<= 16  # in place: a second copy would be as large as the result
        return wide.view(np.float32)
    if dtype == "F16":
        return patterns.view(np.float16).astype(np.float32)
    if dtype in ("F32", "F64"):
        return patterns.view(f"f{patterns.dtype.itemsize}")
    values: np.ndarray = top(dtype).values.astype(np.float32)[patterns]
    return values


def not_finite(values: np.ndarray) -> tuple[str, str] | None:
    """(id of the finding, what is wrong) with a matrix that is not finite; None when it is."""
    fine = np.isfinite(values)
    if fine.all():
        return None
    row, column = divmod(int(np.argmin(fine)), values.shape[1])
    id, what = ("WT-NAN", "NaN") if np.isnan(values).any() else ("WT-INF", "infinite values")
    return id, f"it holds {what}; the first value that is not finite is at [{row}, {column}]"


def wide_blocks(values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, rows as float64) of a matrix held in memory, at most BLOCK elements at a time."""
    step = max(BLOCK // values.shape[1], 1)
    for start in range(0, len(values), step):
        yield start, values[start : start + step].astype(np.float64)


def head_view(matrix: Matrix, values: np.ndarray) -> np.ndarray:
    """The values of q, k, v or o as (heads, head size, width of the model).

    Raises BadOption where the number of heads is not known.
    """
    if matrix.heads is None:
        raise BadOption(f"{show_plain(matrix.name)}: how many heads it has is not known.")
    along = values.T if matrix.role == "o" else values
    return along.reshape(matrix.heads, -1, along.shape[1])


def coverage(
    checkpoint: Checkpoint, measured: Sequence[Matrix], skipped: Sequence[Skipped]
) -> Coverage:
    """How much the measured matrices are of all that were asked for; `skipped` may name pieces."""
    entries = {show_plain(entry.name): entry for entry in checkpoint.tensors}
    sizes: dict[str, int] = {}
    for matrix in measured:
        name = show_plain(matrix.entry.name)
        sizes[name] = sizes.get(name, 0) + matrix.rows * matrix.columns
    missing = {s.name if s.name in entries else s.name.rpartition("[")[0] for s in skipped}
    total = [entries[name] for name in sizes.keys() | missing if name in entries]
    whole = [name for name in sizes if name not in missing]
    return Coverage(
        tensors_total=len(total),
        tensors_measured=len(whole),
        # of packed tensors the values they stand for count, not the words they are packed in
        parameters_total=sum(max(e.parameters, sizes.get(show_plain(e.name), 0)) for e in total),
        parameters_measured=sum(sizes.values()),
        bytes_total=sum(e.bytes for e in total),
        bytes_read=sum(entries[name].bytes for name in sizes),
        skipped=tuple(skipped),
    )


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Within it linear algebra uses one thread a call: matrices side by side are faster."""
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        yield
