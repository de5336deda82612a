"""Rows of a checkpoint's embedding and unembedding, read from the file as they are stored."""

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np
import scipy.linalg
from jaxtyping import Float

from inspector.errors import UnsupportedModel
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint, Reader
from inspector.weights.matrices import Matrix, blocks, load, matrices
from inspector.weights.names import WORD_EMBEDDINGS
from inspector.weights.problems import Log

EMBEDDING: Final = "embedding"
UNEMBEDDING: Final = "unembedding"
REMOVED: Final = 1  # directions of the largest variance that are taken out


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Rows of a table by id, and what all its rows have in common.

    `mean` is that of all finite rows, `top` the REMOVED directions of unit length along which
    rows vary most about it, with their `share` of the variance, in [0, 1]; `spread` is the root
    mean square distance of rows from it.
    """

    matrix: Matrix
    ids: tuple[int, ...]
    rows: Float[np.ndarray, "ids width"]
    mean: Float[np.ndarray, " width"]
    top: Float[np.ndarray, "removed width"]
    share: float
    spread: float
    n_not_finite: int


def word_tables(checkpoint: Checkpoint, log: Log) -> dict[str, Matrix]:
    """The matrices with a row for each word: the embedding, and the unembedding if it is another.

    What there is no second table for is told in `log`. Raises UnsupportedModel where there is
    none, and where its rows are codes of a quantised model.
    """
    every, skipped = matrices(checkpoint)
    words = [m for m in every if m.role == EMBEDDING and _module(m) in WORD_EMBEDDINGS]
    words = [m for m in words if m.layer is None and m.stack not in ("vision", "audio")]
    words.sort(key=lambda m: WORD_EMBEDDINGS.index(_module(m)))
    outs = [m for m in every if m.role == UNEMBEDDING and m.kind == "weight" and m.layer is None]
    size = words[0].rows if words else max((m.rows for m in outs), default=0)
    outs = [m for m in outs if m.rows == size]
    found = {
        **({EMBEDDING: words[0]} if words else {}),
        **({UNEMBEDDING: outs[0]} if outs else {}),
    }
    if not found:
        why = next(
            (s.reason for s in skipped if "embed" in s.name or "wte" in s.name), "none found"
        )
        raise UnsupportedModel(
            f"{show_plain(checkpoint.model)}: there is no table of word vectors to read ({why})."
        )
    for matrix in found.values():
        if matrix.packed is not None:
            raise UnsupportedModel(
                f"{show_plain(matrix.name)} holds codes of a quantised model, not rows of words."
            )
    if words and not outs:
        log.add("WE-TIED", words[0].name, _tied(checkpoint, words[0].name))
    return found


def _module(matrix: Matrix) -> str:
    return matrix.name.removesuffix(".weight").rpartition(".")[2]


def _tied(checkpoint: Checkpoint, name: str) -> str:
    placements = checkpoint.architecture.placements
    targets = [target for source, target in checkpoint.architecture.tied if source == name]
    targets += [p.name for p in placements.values() if p.alias_of == name]
    if targets:
        return f"{show_plain(targets[0])} is tied to this embedding: its rows are the same"
    return "the file holds no unembedding: the embedding alone is looked at"


def read_rows(matrix: Matrix, reader: Reader, ids: Sequence[int]) -> Rows:
    """Rows of a table as float64, in one pass over all of it; each id must be a row."""
    width = matrix.columns
    wanted = np.array(sorted(set(ids)), dtype=np.int64)
    rows = np.full((len(wanted), width), np.nan)
    total, gram = np.zeros(width), np.zeros((width, width))
    begin = finite = 0
    pieces = blocks(matrix, reader) if matrix.rows >= width else [load(matrix, reader)]
    for piece in pieces:
        here = (wanted >= begin) & (wanted < begin + len(piece))
        rows[here] = piece[wanted[here] - begin]
        begin += len(piece)
        fine = np.isfinite(piece).all(1)
        wide = piece[fine].astype(np.float64)
        total += wide.sum(0)
        gram += wide.T @ wide
        finite += len(wide)
    if finite < 2:
        raise UnsupportedModel(f"{show_plain(matrix.name)} has {finite} rows of finite values.")
    mean = total / finite
    spread = gram / finite - np.outer(mean, mean)
    variance = max(float(np.trace(spread)), 0.0)
    sizes, directions = scipy.linalg.eigh(spread, subset_by_index=[width - REMOVED, width - 1])
    return Rows(
        matrix=matrix,
        ids=tuple(wanted.tolist()),
        rows=rows,
        mean=mean,
        top=directions.T,
        share=float(sizes.sum() / variance) if variance else 0.0,
        spread=variance**0.5,
        n_not_finite=begin - finite,
    )
