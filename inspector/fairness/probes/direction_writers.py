"""Which matrices write the direction between words of an attribute, from the file alone."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption, NotEnoughData, UnsupportedModel
from inspector.fairness.items import Pair, Stimuli
from inspector.fairness.probes.parts import Part
from inspector.fairness.probes.records import ALL, EXPLORATORY, QUALITY, Answers, ItemScore
from inspector.fairness.probes.write_parts import (
    AGREES,
    WRITE_COLUMNS,
    WRITES,
    Columns,
    largest,
    write_columns,
)
from inspector.fairness.tables import EMBEDDING, UNEMBEDDING, word_tables
from inspector.fairness.word_direction import Direction, find_direction
from inspector.fairness.words import read_tokenizer
from inspector.fairness.writers import (
    DRAWS,
    Shared,
    Written,
    gram,
    written,
)
from inspector.results import Skipped, show_plain
from inspector.weights.checkpoint import Checkpoint, Reader
from inspector.weights.matrices import Matrix, coverage, load, matrices
from inspector.weights.problems import Log

if TYPE_CHECKING:
    from inspector.model.load import Model

WRITING: Final = (("o", "weight"), ("down", "weight"), ("expert_down", "weight"))
SEEN: Final = 0.01  # largest p at which pairs count as sharing a direction
WRITE: Final = "write z"
LARGEST: Final = "largest write z"
AGREEMENT: Final = "explained by the other pairs"


def direction_writers(
    model: "Model | Checkpoint",
    stimuli: Stimuli[Pair],
    table: str | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Answers:
    """How strongly each W_O and W_down writes the mean difference of pairs of words.

    In log energy per unit of length, against directions made alike of as many random pairs of
    words, each near in the vocabulary to one of those asked. The overall number is the largest of
    all matrices, against the largest of each random direction. `table`: whose rows, "embedding" or
    "unembedding"; None: the unembedding where it is stored. Pairs that share no direction make
    every number invalid. Raises BadOption for pairs of several categories, UnsupportedModel where
    no row or no matrix can be read.
    """
    checkpoint = model if isinstance(model, Checkpoint) else model.checkpoint
    log = Log()
    role, rows = _table(checkpoint, table, log)
    pairs = _asked(stimuli)
    writers, skipped = _writers(checkpoint, rows.columns)
    tokenizer = read_tokenizer(checkpoint)
    found: list[Written | None] = []
    with checkpoint.reader([rows.entry, *(matrix.entry for matrix in writers)]) as reader:
        direction = find_direction(tokenizer, pairs, rows, reader, seed)
        for number, matrix in enumerate(writers):
            progress(number, len(writers), show_plain(matrix.name))
            found.append(_written(matrix, direction, reader, log))
    problem = _problem(direction, log)
    return Answers(
        probe="direction-writers",
        scorer=f"mean difference of rows of the {role}",
        stimuli=stimuli,
        items=tuple(_item(pair, direction, role) for pair in pairs),
        parts=tuple(_parts(pairs, direction, writers, found)),
        problems=problem,
        source=dataclasses.replace(checkpoint.source(), seed=seed),
        coverage=coverage(checkpoint, [rows, *writers], skipped),
        summary={
            "table": rows.name,
            "pairs": list(direction.known),
            "excluded_pairs": direction.excluded,
            "random_differences": direction.pool,
            "random_directions": DRAWS,
            "agreement": _agreement(direction.shared),
        },
        findings=log.findings,
    )


def _table(checkpoint: Checkpoint, table: str | None, log: Log) -> tuple[str, Matrix]:
    tables = word_tables(checkpoint, log)
    if table is not None and table not in tables:
        shown = show_plain(table, 40)
        raise BadOption(f"There is no table {shown!r} here; there is {', '.join(tables)}.")
    role = table or (UNEMBEDDING if UNEMBEDDING in tables else EMBEDDING)
    return role, tables[role]


def _asked(stimuli: Stimuli[Pair]) -> list[Pair]:
    """The pairs of one direction, each with the word that it points to first; no controls."""
    pairs = [pair for pair in stimuli.items if pair.direction]
    categories = sorted({pair.category for pair in pairs})
    if len(categories) != 1:
        told = ", ".join(show_plain(name, 40) for name in categories[:6]) or "none"
        raise BadOption(f"One direction is asked about: give pairs of one category, not of {told}.")
    return [
        pair
        if pair.direction > 0
        else dataclasses.replace(pair, more=pair.less, less=pair.more, direction=1)
        for pair in pairs
    ]


def _writers(checkpoint: Checkpoint, width: int) -> tuple[list[Matrix], list[Skipped]]:
    """Matrices whose outputs are added to a stream of that width, and why others are left out."""
    every, skipped = matrices(checkpoint)
    placements = checkpoint.architecture.placements
    named = {show_plain(name): placement for name, placement in placements.items()}
    skipped = [
        one
        for one in skipped
        if one.name in named and (named[one.name].role, named[one.name].kind) in WRITING
    ]
    found = []
    for matrix in every:
        if (matrix.role, matrix.kind) not in WRITING or matrix.stack in ("vision", "audio"):
            continue
        if matrix.rows == width:
            found.append(matrix)
        else:
            reason = f"it gives {matrix.rows} numbers, rows of words have {width}"
            skipped.append(Skipped(name=show_plain(matrix.name), reason=reason))
    if not found:
        raise UnsupportedModel(
            f"{show_plain(checkpoint.model)}: there is no matrix that writes {width} numbers."
        )
    return found, skipped


def _written(matrix: Matrix, direction: Direction, reader: Reader, log: Log) -> Written | None:
    if direction.shared is None:
        return None
    pairs = len(direction.known)
    products = gram(direction.differences, load(matrix, reader))
    try:
        return written(products, direction.lengths, pairs, direction.drawn, direction.sizes)
    except NotEnoughData as error:
        log.add("WE-WRITES", matrix.name, str(error))
        return None


def _problem(direction: Direction, log: Log) -> tuple[str, ...]:
    """Why no number is to be believed: the pairs point nowhere together."""
    found = direction.shared
    if found is None:
        told = f"{len(direction.known)} pairs are known beside {direction.pool} random ones"
        told = f"too few for a direction: {told}"
    elif found.p_value > SEEN:
        told = (
            f"these pairs share no direction: the others explain {_share(found.value)} of a pair, "
            f"of random pairs {_share(found.null_mean)} (p = {found.p_value:.2g})"
        )
    else:
        return ()
    log.add("WE-DIRECTION", "pairs", told)
    return (told,)


def _share(value: float) -> str:
    return f"{round(100 * value, 1) + 0.0:.1f} %"  # no minus before a zero


def _agreement(found: Shared | None) -> dict[str, float] | None:
    names = ("value", "null_mean", "null_95", "p_value")
    return None if found is None else {name: getattr(found, name) for name in names}


def _item(pair: Pair, direction: Direction, role: str) -> ItemScore:
    """A pair with how much of its difference the other pairs explain."""
    gap = None
    if direction.shared is not None and pair.id in direction.known:
        gap = float(direction.shared.by_pair[direction.known.index(pair.id)])
    return ItemScore(
        id=pair.id,
        category=pair.category,
        group=pair.group,
        cluster=pair.cluster,
        direction=float(pair.direction),
        scorer=role,
        gap=gap,
        more=None,
        less=None,
        tokens_more=0,
        tokens_less=0,
        excluded=direction.excluded.get(pair.id),
        text_more=pair.more,
        text_less=pair.less,
    )


def _parts(
    pairs: Sequence[Pair],
    direction: Direction,
    writers: Sequence[Matrix],
    found: Sequence[Written | None],
) -> Iterator[Part]:
    """The largest of all, each matrix, and whether the pairs agree."""
    known = [one for one in found if one is not None]

    def part(metric: str, category: str, family: str, columns: Columns | None) -> Part:
        values = np.full((len(pairs), len(WRITE_COLUMNS)), np.nan)
        places = [i for i, pair in enumerate(pairs) if pair.id in direction.known]
        if columns is not None:
            values[places] = columns
        return Part(
            metric=metric,
            category=category,
            family=family,
            ids=tuple(pair.id for pair in pairs),
            clusters=tuple(pair.cluster for pair in pairs),
            values=values,
            how=AGREES if family == QUALITY else WRITES,
        )

    yield part(LARGEST, ALL, ALL, write_columns(*largest(known)) if known else None)
    for matrix, one in zip(writers, found, strict=True):
        columns = None if one is None else write_columns(one, 0.0)
        yield part(WRITE, matrix.name, EXPLORATORY, columns)
    agreed = None
    if direction.shared is not None:
        agreed = np.tile(direction.shared.by_pair[:, None], (1, len(WRITE_COLUMNS)))
    yield part(AGREEMENT, ALL, QUALITY, agreed)
