"""The direction between words of pairs, and differences of other words to set beside it."""

import bisect
import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Float, Int
from tokenizers import Tokenizer

from inspector.errors import NotEnoughData
from inspector.fairness.items import Pair
from inspector.fairness.tables import read_rows
from inspector.fairness.words import read_words
from inspector.fairness.writers import POOL, Drawn, Gram, Shared, draws, shared, sums
from inspector.weights.checkpoint import Reader
from inspector.weights.matrices import Matrix

STARTS: Final = ("Ġ", "▁")  # how pieces begin that begin a word
NEAR: Final = 200  # words of the vocabulary among which one in the place of another is drawn
NEAR_FEWEST: Final = 10
SAME: Final = 1e-9  # of the usual size: a direction of no length

Sides = tuple[tuple[int, ...], tuple[int, ...]]  # ids of the two words of a pair


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Direction:
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


def find_direction(
    tokenizer: Tokenizer, pairs: Sequence[Pair], rows: Matrix, reader: Reader, seed: int
) -> Direction:
    """Differences of the rows of each pair's words, and of random words in their place.

    Words of several pieces are the mean of their rows. Each pair that is left out has its reason.
    """
    words = read_words(tokenizer, [word for pair in pairs for word in (pair.more, pair.less)])
    excluded: dict[str, str] = {}
    for pair in pairs:
        for word in (words[pair.more], words[pair.less]):
            if word.excluded is not None:
                excluded[pair.id] = f"{word.word}: {word.excluded}"
            elif max(word.ids) >= rows.rows:
                excluded[pair.id] = f"{word.word}: the table has no row for it"
    asked = [pair for pair in pairs if pair.id not in excluded]
    sides = [(words[pair.more].ids, words[pair.less].ids) for pair in asked]
    others = other_words(tokenizer, sides, rows.rows, seed)
    read = read_rows(rows, reader, [i for two in [*sides, *others] for ids in two for i in ids])
    vectors = dict(zip(read.ids, read.rows, strict=True))

    def differences(some: Sequence[Sides]) -> Float[np.ndarray, "some width"]:
        means = [[np.mean([vectors[i] for i in ids], axis=0) for ids in two] for two in some]
        return np.array([more - less for more, less in means]).reshape(-1, rows.columns)

    real, pool = differences(sides), differences(others)
    fine = np.isfinite(real).all(1)
    excluded |= {
        pair.id: "its rows are not finite"
        for pair, is_fine in zip(asked, fine, strict=True)
        if not is_fine
    }
    place = np.cumsum(fine) - 1
    of = np.arange(len(others)) % max(1, len(sides))
    usable = np.isfinite(pool).all(1) & pool.any(1) & (fine[of] if len(others) else True)
    return _judged(
        [pair.id for pair, is_fine in zip(asked, fine, strict=True) if is_fine],
        excluded,
        np.concatenate([real[fine], pool[usable]]),
        place[of[usable]] if len(others) else np.zeros(0, dtype=np.int64),
        seed,
    )


def _judged(
    known: Sequence[str],
    excluded: dict[str, str],
    differences: Float[np.ndarray, "differences width"],
    like: Int[np.ndarray, " pool"],
    seed: int,
) -> Direction:
    lengths = differences @ differences.T
    agreed, drawn = None, np.zeros((0, len(known)), dtype=np.int64)
    try:
        drawn = draws(like, len(known), seed)
        sizes = sums(lengths, drawn)
        drawn = drawn[sizes > SAME * sizes.mean()]  # the same words, either way, cancel out
        agreed = shared(lengths, len(known), drawn)
    except NotEnoughData:
        pass
    return Direction(
        known=tuple(known),
        excluded=excluded,
        differences=differences,
        lengths=lengths,
        drawn=drawn,
        sizes=sums(lengths, drawn),
        shared=agreed,
    )


def other_words(tokenizer: Tokenizer, sides: Sequence[Sides], rows: int, seed: int) -> list[Sides]:
    """Whole words in the place of those of each pair in turn, near them in the vocabulary.

    Most vocabularies are sorted by frequency, so that these are about as frequent.
    """
    names = {name: id for name, id in tokenizer.get_vocab().items() if id < rows}
    starts = [start for start in STARTS if any(name.startswith(start) for name in names)]
    lead = starts[0] if starts else ""
    taken = {id for two in sides for ids in two for id in ids}
    words = {
        id
        for name, id in names.items()
        if name.startswith(lead) and name.removeprefix(lead).isalnum() and id not in taken
    }
    free = sorted(words)
    if len(free) < NEAR_FEWEST or not sides:
        return []
    rng = np.random.default_rng(seed)
    found: list[Sides] = []
    for number in range(POOL):
        two = []
        for ids in sides[number % len(sides)]:
            at = bisect.bisect_left(free, ids[0])
            begin = max(0, min(at - NEAR // 2, len(free) - NEAR))
            two.append(free[int(rng.integers(begin, min(begin + NEAR, len(free))))])
        found.append(((two[0],), (two[1],)))
    return found
