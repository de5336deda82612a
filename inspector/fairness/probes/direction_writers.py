"""Which matrices write the direction between words of an attribute, from the file alone."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from jaxtyping import Float, Int
from tokenizers import Tokenizer

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
from inspector.fairness.tables import EMBEDDING, UNEMBEDDING, read_rows, word_tables
from inspector.fairness.words import read_tokenizer, read_words
from inspector.fairness.writers import (
    DRAWS,
    FEWEST,
    POOL,
    Drawn,
    Gram,
    Shared,
    Written,
    draws,
    gram,
    shared,
    sums,
    written,
)
from inspector.results import Skipped, show_plain
from inspector.weights.checkpoint import Checkpoint, Reader
from inspector.weights.matrices import Matrix, coverage, load, matrices
from inspector.weights.problems import Log

if TYPE_CHECKING:
    from inspector.model.load import Model

WRITING: Final = (("o", "weight"), ("down", "weight"), ("expert_down", "weight"))
STARTS: Final = ("Ġ", "▁")  # how pieces begin that begin a word
SEEN: Final = 0.01  # largest p at which pairs count as sharing a direction
WRITE: Final = "write z"
LARGEST: Final = "largest write z"
AGREEMENT: Final = "explained by the other pairs"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Direction:
    """Differences of the pairs that are known, then those of random words; how they agree.

    `shared` is None where too few are known for a direction.
    """

    known: tuple[str, ...]
    excluded: dict[str, str]
    differences: Float[np.ndarray, "differences width"]
    lengths: Gram
    drawn: Drawn
    sizes: Float[np.ndarray, " draws"]
    shared: Shared | None

    @property
    def pool(self) -> int:
        """How many differences of random words there are."""
        return len(self.differences) - len(self.known)


def direction_writers(
    model: "Model | Checkpoint",
    stimuli: Stimuli[Pair],
    table: str | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Answers:
    """How strongly each W_O and W_down writes the mean difference of pairs of words.

    In log energy per unit of length, against directions made alike of as many random pairs of the
    vocabulary; the overall number is the largest of all matrices, against the largest of each
    random direction. `table`: whose rows, "embedding" or "unembedding"; None: the unembedding
    where it is stored. Pairs that share no direction make every number invalid. Raises BadOption
    for pairs of several categories, UnsupportedModel where no row or no matrix can be read.
    """
    checkpoint = model if isinstance(model, Checkpoint) else model.checkpoint
    log = Log()
    role, rows = _table(checkpoint, table, log)
    pairs = _asked(stimuli)
    writers, skipped = _writers(checkpoint, rows.columns)
    found: list[Written | None] = []
    with checkpoint.reader([rows.entry, *(matrix.entry for matrix in writers)]) as reader:
        direction = _direction(read_tokenizer(checkpoint), pairs, rows, reader, seed)
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


def _direction(
    tokenizer: Tokenizer, pairs: Sequence[Pair], rows: Matrix, reader: Reader, seed: int
) -> _Direction:
    words = read_words(tokenizer, [word for pair in pairs for word in (pair.more, pair.less)])
    taken = {id for word in words.values() for id in word.ids}
    others = _others(tokenizer, taken, rows.rows, seed)
    read = read_rows(
        rows, reader, [*(id for id in taken if id < rows.rows), *others.ravel().tolist()]
    )
    vectors = dict(zip(read.ids, read.rows, strict=True))
    excluded: dict[str, str] = {}
    known: dict[str, Float[np.ndarray, " width"]] = {}
    for pair in pairs:
        sides = [words[pair.more], words[pair.less]]
        why = next((f"{one.word}: {one.excluded}" for one in sides if one.excluded), None)
        if why is None and any(id not in vectors for one in sides for id in one.ids):
            why = "the table has no row for it"
        if why is None:
            more, less = (np.mean([vectors[id] for id in one.ids], axis=0) for one in sides)
            known[pair.id] = more - less
            why = None if np.isfinite(known[pair.id]).all() else "its rows are not finite"
        if why is not None:
            known.pop(pair.id, None)
            excluded[pair.id] = why
    pool = np.array([vectors[int(a)] - vectors[int(b)] for a, b in others])
    pool = pool.reshape(-1, rows.columns)
    pool = pool[np.isfinite(pool).all(1) & pool.any(1)]
    differences = np.concatenate([np.array(list(known.values())).reshape(-1, rows.columns), pool])
    lengths = differences @ differences.T
    enough = FEWEST <= len(known) <= len(pool)
    drawn = draws(len(known), len(pool), seed) if enough else np.zeros((0, 0), dtype=np.int64)
    return _Direction(
        known=tuple(known),
        excluded=excluded,
        differences=differences,
        lengths=lengths,
        drawn=drawn,
        sizes=sums(lengths, drawn),
        shared=shared(lengths, len(known), drawn) if enough else None,
    )


def _others(
    tokenizer: Tokenizer, taken: set[int], rows: int, seed: int
) -> Int[np.ndarray, "pairs two"]:
    """Pairs of ids of whole words of the vocabulary, none of them asked about."""
    names = {name: id for name, id in tokenizer.get_vocab().items() if id < rows}
    starts = [start for start in STARTS if any(name.startswith(start) for name in names)]
    words = {
        id
        for name, id in names.items()
        if not starts or name.startswith(starts[0])
        if name.removeprefix(starts[0] if starts else "").isalnum()
    }
    free = np.array(sorted(words - taken), dtype=np.int64)
    if len(free) < 2:
        return np.zeros((0, 2), dtype=np.int64)
    rng = np.random.default_rng(seed)
    first = rng.integers(0, len(free), POOL)
    second = (first + rng.integers(1, len(free), POOL)) % len(free)
    return np.stack([free[first], free[second]], axis=1)


def _written(matrix: Matrix, direction: _Direction, reader: Reader, log: Log) -> Written | None:
    if direction.shared is None:
        return None
    pairs = len(direction.known)
    products = gram(direction.differences, load(matrix, reader))
    try:
        return written(products, direction.lengths, pairs, direction.drawn, direction.sizes)
    except NotEnoughData as error:
        log.add("WE-WRITES", matrix.name, str(error))
        return None


def _problem(direction: _Direction, log: Log) -> tuple[str, ...]:
    """Why no number is to be believed: the pairs point nowhere together."""
    found = direction.shared
    if found is None:
        told = f"{len(direction.known)} pairs are known beside {direction.pool} random ones"
        told = f"too few for a direction: {told}"
    elif found.p_value > SEEN:
        told = (
            f"these pairs share no direction: the others explain {found.value:.1%} of a pair, of "
            f"random pairs {found.null_mean:.1%} (p = {found.p_value:.2g})"
        )
    else:
        return ()
    log.add("WE-DIRECTION", "pairs", told)
    return (told,)


def _agreement(found: Shared | None) -> dict[str, float] | None:
    names = ("value", "null_mean", "null_95", "p_value")
    return None if found is None else {name: getattr(found, name) for name in names}


def _item(pair: Pair, direction: _Direction, role: str) -> ItemScore:
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
    direction: _Direction,
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
