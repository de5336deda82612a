"""All attentions of a checkpoint: records of their heads, sketches of them, and composition."""

import dataclasses
import heapq
import itertools
from collections.abc import Callable, Sequence

from inspector.engine import ordered_map
from inspector.errors import CheckpointError, NotEnoughData
from inspector.results import Skipped, show_plain
from inspector.weights import composition
from inspector.weights.checkpoint import Checkpoint, Reader
from inspector.weights.composition import Composition, Side
from inspector.weights.heads import Attention, Head, holds, measure_heads, name_of, read_attention
from inspector.weights.partners import Group
from inspector.weights.twins import Sketch, sketch_product

MOST_COMPOSITIONS = 50


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class HeadSketch:
    """Where the "ov" or "qk" of one head is found, its shape and its sketch."""

    group: Group
    which: str
    head: Head
    shape: tuple[int, ...]
    sketch: Sketch


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Attended:
    """What came of the attentions; `composition` None where it is too much work, as `note` says."""

    heads: tuple[Head, ...]
    sketched: tuple[HeadSketch, ...]
    composition: tuple[Composition, ...] | None
    note: str
    skipped: tuple[Skipped, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Done:
    name: str
    side: Side | None
    heads: tuple[Head, ...]
    sketched: tuple[HeadSketch, ...]
    error: str | None = None


def attend(
    checkpoint: Checkpoint,
    reader: Reader,
    groups: Sequence[Group],
    count: Callable[[str], None],
    workers: int | None,
) -> Attended:
    """Measure the heads of every attention; `count` is called with the name of each that is done.

    Composition is computed where all of it takes at most composition.MOST_WORK operations; only
    then the factors of all attentions are held at once.
    """
    lines = [composition.line(group) for group in groups]
    work = composition.work(groups, lines)
    compose = work <= composition.MOST_WORK
    qk_holds = holds(checkpoint)

    def measure(item: tuple[Group, object]) -> _Done:
        group, line = item
        try:
            attention = read_attention(checkpoint, reader, group)
            found, roots = measure_heads(attention, qk_holds)
        except (CheckpointError, NotEnoughData) as error:
            return _Done(name=name_of(group), side=None, heads=(), sketched=(), error=str(error))
        kept = Side(attention=attention, roots=roots) if compose and line is not None else None
        return _Done(
            name=attention.name, side=kept, heads=found, sketched=_sketches(attention, found)
        )

    done = []
    for one in ordered_map(measure, zip(groups, lines, strict=True), workers):
        done.append(one)
        count(one.name)
    return Attended(
        heads=tuple(head for one in done for head in one.heads),
        sketched=tuple(sketch for one in done for sketch in one.sketched),
        composition=_composed(done, lines, workers) if compose else None,
        note=""
        if compose
        else f"it takes {work:.2g} operations; more than {composition.MOST_WORK:.2g} are not spent",
        skipped=tuple(
            Skipped(name=show_plain(one.name), reason=one.error) for one in done if one.error
        ),
    )


def _composed(
    done: Sequence[_Done], lines: Sequence[object], workers: int | None
) -> tuple[Composition, ...]:
    """The MOST_COMPOSITIONS largest scores over all pairs of attentions in a line."""
    sides = [(one.side, line) for one, line in zip(done, lines, strict=True) if one.side]
    pairs = [
        (later, earlier)
        for (earlier, one), (later, other) in itertools.combinations(sides, 2)
        if one == other
    ]
    found = ordered_map(lambda pair: composition.compose(*pair), pairs, workers)
    return tuple(
        heapq.nlargest(
            MOST_COMPOSITIONS,
            itertools.chain.from_iterable(found),
            key=lambda one: one.score / one.noise,
        )
    )


def _sketches(attention: Attention, found: Sequence[Head]) -> tuple[HeadSketch, ...]:
    made = []
    for which in ("ov", "qk"):
        if not getattr(attention, which):
            continue
        for head in found:
            left, right = attention.factors(which, head.head)
            made.append(
                HeadSketch(
                    group=attention.group,
                    which=which,
                    head=head,
                    shape=(*left.shape, *right.shape),
                    sketch=sketch_product(left, right),
                )
            )
    return tuple(made)
