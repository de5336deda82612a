"""How strongly matrices write along a direction between words, beside directions of other words.

A direction is the mean of differences of word vectors. All that is asked of it follows from inner
products of those differences, before and after a matrix: no direction is ever written out.
"""

import dataclasses
from typing import Final

import numpy as np
from jaxtyping import Float, Int

from inspector.errors import NotEnoughData

POOL: Final = 1000  # differences of random words
DRAWS: Final = 4999  # random directions made of them
COLUMNS: Final = 2**22  # numbers of a block of a matrix: 32 MB
FEWEST: Final = 2  # pairs, below which none can be left out

Gram = Float[np.ndarray, "differences differences"]
Drawn = Int[np.ndarray, "draws pairs"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Written:
    """How much of what a matrix gives lies along a direction, in log energy per unit of length.

    `z`: against random directions, in their standard deviations about their mean. `without`: the
    same with each pair left out in turn. `null`: of the random directions themselves. `p_value`:
    share of them that are written at least as strongly, (1 + #) / (1 + drawn).
    """

    z: float
    without: Float[np.ndarray, " pairs"]
    null: Float[np.ndarray, " draws"]
    p_value: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Shared:
    """How much of each difference the mean of the others explains, signed, in [-1, 1].

    `value`: the mean over pairs, 0 where they point nowhere together; `null_mean` and `null_95`
    are those of as many random pairs, `p_value` the share of them that agree as much.
    """

    value: float
    by_pair: Float[np.ndarray, " pairs"]
    null_mean: float
    null_95: float
    p_value: float


def draws(like: Int[np.ndarray, " pool"], pairs: int, seed: int) -> Drawn:
    """Which differences of the pool each random direction is made of, after the `pairs` real.

    `like`: which real pair each of the pool is drawn in the place of; a direction has one of each.
    """
    rng = np.random.default_rng(seed)
    drawn = np.empty((DRAWS, pairs), dtype=np.int64)
    for pair in range(pairs):
        choice = np.flatnonzero(like == pair)
        if len(choice) < FEWEST:
            raise NotEnoughData(f"there are {len(choice)} random words like those of a pair")
        drawn[:, pair] = pairs + rng.choice(choice, DRAWS)
    return drawn


def gram(
    differences: Float[np.ndarray, "differences width"], matrix: Float[np.ndarray, "width inputs"]
) -> Gram:
    """Inner products of what a matrix adds along each difference; `matrix` is [out, in]."""
    total = np.zeros((len(differences), len(differences)))
    step = max(1, COLUMNS // max(1, len(matrix)))
    for begin in range(0, matrix.shape[1], step):
        along = differences @ matrix[:, begin : begin + step].astype(np.float64)
        total += along @ along.T
    return total


def shared(lengths: Gram, pairs: int, drawn: Drawn) -> Shared:
    """Whether the first `pairs` differences point one way; `lengths` are inner products."""
    if pairs < FEWEST:
        raise NotEnoughData(f"a direction needs {FEWEST} pairs of known words, got {pairs}")
    by_pair = _agreement(lengths[:pairs, :pairs])
    step = max(1, COLUMNS // pairs**2)
    null = np.concatenate(
        [
            _agreement(lengths[some[:, :, None], some[:, None, :]]).mean(1)
            for some in (drawn[i : i + step] for i in range(0, len(drawn), step))
        ]
    )
    value = float(by_pair.mean())
    return Shared(
        value=value,
        by_pair=by_pair,
        null_mean=float(null.mean()),
        null_95=float(np.quantile(null, 0.95)),
        p_value=float((1 + (null >= value).sum()) / (1 + len(null))),
    )


def _agreement(
    products: Float[np.ndarray, "*draws pairs pairs"],
) -> Float[np.ndarray, "*draws pairs"]:
    """Signed square cosine of each difference with the mean of the others."""
    own = np.diagonal(products, axis1=-2, axis2=-1)
    summed = products.sum(-1)
    with_others = summed - own
    others = summed.sum(-1, keepdims=True) - 2 * summed + own
    agreement = np.zeros(own.shape)
    size = own * others
    np.divide(np.sign(with_others) * with_others**2, size, out=agreement, where=size > 0)
    return agreement


def written(
    products: Gram,
    lengths: Gram,
    pairs: int,
    drawn: Drawn,
    sizes: Float[np.ndarray, " draws"],
) -> Written:
    """A matrix's z from inner products after it (`gram`) and before it; NotEnoughData for zero.

    `sizes` are those of the drawn directions before it: `sums(lengths, drawn)`.
    """
    null = _energy(sums(products, drawn), sizes)
    if not np.isfinite(null).all():
        raise NotEnoughData("it writes nothing along some directions, or what is not finite")
    mean, spread = float(null.mean()), float(null.std(ddof=1))
    if not spread > 0:
        raise NotEnoughData("it writes along all directions alike")
    after, before = products[:pairs, :pairs], lengths[:pairs, :pairs]
    whole = float(_energy(after.sum()[None], before.sum()[None])[0])
    without = _energy(_leaving_out(after), _leaving_out(before))
    return Written(
        z=(whole - mean) / spread,
        without=(without - mean) / spread,
        null=(null - mean) / spread,
        p_value=float((1 + (null >= whole).sum()) / (1 + len(null))),
    )


def sums(products: Gram, drawn: Drawn) -> Float[np.ndarray, " draws"]:
    """Inner products of all pairs among the differences of each draw, summed."""
    total = np.zeros(len(drawn))
    for one in drawn.T:
        total += products[one[:, None], drawn].sum(1)
    return total


def _leaving_out(products: Float[np.ndarray, "pairs pairs"]) -> Float[np.ndarray, " pairs"]:
    return np.asarray(products.sum() - 2 * products.sum(1) + products.diagonal())


def _energy(
    after: Float[np.ndarray, " n"], before: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Log of energy per unit of length; -inf where nothing is written."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(after / before))
