"""Heads, experts and layers that repeat another of the same model, from sketches to true cosines.

They are what up-cycled mixtures of experts, models scaled up in depth, merges and constant
initialisation leave behind.
"""

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np

from inspector.errors import CheckpointError
from inspector.weights.attention import HeadSketch
from inspector.weights.checkpoint import Checkpoint, Reader
from inspector.weights.circuits import cosine
from inspector.weights.heads import Attention, read_attention
from inspector.weights.matrices import Matrix, load
from inspector.weights.twins import Sketch, Twin, same_values, twins

FEWEST = 32  # values: matrices of fewer are copies by chance

Block = tuple[str | None, int | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Copy:
    """One thing that repeats an earlier one of the same model.

    `what` is "layer", "expert", "matrix", "head ov" or "head qk"; `index` and `like_index` are
    those of experts and heads. `cosine` is between their numbers (OV and QK multiplied out), of
    several matrices the one nearest 0; `exact` when all numbers are equal.
    """

    name: str
    layer: int | None
    role: str
    what: str
    stack: str | None
    index: int | None
    like_name: str
    like_layer: int | None
    like_stack: str | None
    like_index: int | None
    cosine: float
    exact: bool


def of_matrices(measured: Sequence[tuple[Matrix, Sketch]], reader: Reader) -> list[Copy]:
    """Copies among matrices of the same role and shape, told as layers or experts where all are.

    Those of fewer than FEWEST values are not compared: chance makes them alike.
    """
    found = [matrix for matrix, _ in measured]
    held: dict[int, np.ndarray] = {}

    def compare(one: int, other: int) -> tuple[float, bool] | None:
        try:
            if one not in held:
                held.clear()
                held[one] = load(found[one], reader)
            return same_values(held[one], load(found[other], reader))
        except CheckpointError:
            return None  # measured a moment ago: the coverage says that the file changed

    pairs = twins(
        [(m.role, m.kind, m.rows, m.columns) for m in found],
        [sketch if m.rows * m.columns >= FEWEST else None for m, sketch in measured],
        compare,
    )
    return _told(found, {pair.other: pair for pair in pairs})


def _told(found: Sequence[Matrix], pairs: dict[int, Twin]) -> list[Copy]:
    blocks: dict[Hashable, list[int]] = {}
    experts: dict[Hashable, list[int]] = {}
    for place, matrix in enumerate(found):
        if matrix.layer is not None:
            blocks.setdefault(_block(matrix), []).append(place)
            if matrix.expert is not None:
                experts.setdefault((_block(matrix), matrix.expert), []).append(place)
    told, copies = set(), []
    for what, things in (("layer", blocks), ("expert", experts)):
        for key, places in things.items():
            mine = [pairs[place] for place in places if place in pairs and place not in told]
            sources = {_key(what, found[pair.one]) for pair in mine}
            if len(mine) == len(places) > 1 and len(sources) == 1 and key not in sources:
                told.update(places)
                copies.append(_copy(what, found, mine))
    copies += [_copy("matrix", found, [pairs[place]]) for place in pairs if place not in told]
    return copies


def _block(matrix: Matrix) -> Block:
    return matrix.stack, matrix.layer


def _key(what: str, matrix: Matrix) -> Hashable:
    return _block(matrix) if what == "layer" else (_block(matrix), matrix.expert)


def _copy(what: str, found: Sequence[Matrix], pairs: Sequence[Twin]) -> Copy:
    """The record of a thing whose first matrix is that of the first pair."""
    matrix, like = found[pairs[0].other], found[pairs[0].one]
    return Copy(
        name=matrix.name,
        layer=matrix.layer,
        role=matrix.role,
        what=what,
        stack=matrix.stack,
        index=None if what == "layer" else matrix.expert,
        like_name=like.name,
        like_layer=like.layer,
        like_stack=like.stack,
        like_index=None if what == "layer" else like.expert,
        cosine=min((pair.cosine for pair in pairs), key=abs),
        exact=all(pair.exact for pair in pairs),
    )


def of_heads(checkpoint: Checkpoint, reader: Reader, sketched: Sequence[HeadSketch]) -> list[Copy]:
    """Heads of any layer whose OV or QK repeats that of an earlier head."""
    held: dict[int, Attention] = {}

    def factors(place: int) -> tuple[np.ndarray, np.ndarray]:
        one = sketched[place]
        if id(one.group) not in held:
            while len(held) > 1:  # the two that are compared
                held.pop(next(iter(held)))
            held[id(one.group)] = read_attention(checkpoint, reader, one.group)
        return held[id(one.group)].factors(one.which, one.head.head)

    def compare(one: int, other: int) -> tuple[float, bool] | None:
        try:
            first, second = factors(one), factors(other)
        except CheckpointError:
            return None
        found = cosine(first, second)
        same = all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
        return None if found is None else (found, same)

    pairs = twins(
        [(one.which, one.shape) for one in sketched], [one.sketch for one in sketched], compare
    )
    return [_head_copy(sketched[pair.other], sketched[pair.one], pair) for pair in pairs]


def _head_copy(one: HeadSketch, like: HeadSketch, pair: Twin) -> Copy:
    return Copy(
        name=one.head.name,
        layer=one.head.layer,
        role=one.head.role,
        what=f"head {one.which}",
        stack=one.head.stack,
        index=one.head.head,
        like_name=like.head.name,
        like_layer=like.head.layer,
        like_stack=like.head.stack,
        like_index=like.head.head,
        cosine=pair.cosine,
        exact=pair.exact,
    )
