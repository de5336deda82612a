"""Word embedding association tests with the word as the unit, exact where that is feasible."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float
from scipy.special import nctdtrinc

from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.permutation import DRAWS, SAME, subset_sums
from inspector.fairness.uncertainty import CONFIDENCE
from inspector.results import Estimate

FAR = 1e4  # values of t beyond which the sets do not spread, as far as floating point can tell
EXACT_WORDS = 20  # words of both sets up to which all partitions are gone through


@dataclasses.dataclass(frozen=True, kw_only=True)
class Association:
    """How far two sets of words differ in what they are associated with.

    `d`: difference of the means over the standard deviation of all words (`ddof` 1), positive
    where X leans to A. `null_mean` and `null_95`: mean and 95th percentile of |d| over the
    partitions, which is what no bias gives at these sizes. `partitions`: gone through if `exact`,
    else drawn. `smallest_p`: what no words could have gone below.
    """

    d: Estimate
    difference: float
    p_value: float
    exact: bool
    partitions: int
    smallest_p: float
    null_mean: float
    null_95: float
    ddof: int
    n_x: int
    n_y: int


def associations(
    words: Float[np.ndarray, "words width"],
    a: Float[np.ndarray, "a width"],
    b: Float[np.ndarray, "b width"],
) -> Float[np.ndarray, " words"]:
    """Each word's mean cosine with A less its mean cosine with B, in [-2, 2]; 0: neither.

    The sets need not be of one size. Source: Caliskan, Bryson & Narayanan 2017.
    """
    if not (len(a) and len(b)):
        raise NotEnoughData("an association needs words on both sides, one has none")
    return np.asarray(mean_cosines(words, a) - mean_cosines(words, b))


def mean_cosines(
    words: Float[np.ndarray, "words width"], others: Float[np.ndarray, "others width"]
) -> Float[np.ndarray, " words"]:
    """Each word's mean cosine with the others, in [-1, 1]; NotEnoughData for a vector of zero."""
    words, others = (_unit(rows.astype(np.float64)) for rows in (words, others))
    return np.asarray((words @ others.T).mean(1))


def _unit(rows: Float[np.ndarray, "words width"]) -> Float[np.ndarray, "words width"]:
    size = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(size) & (size > 0)).all():
        raise NotEnoughData("a word's vector is zero or not finite: it has no direction")
    return np.asarray(rows / size)


def weat(
    x: Float[np.ndarray, " x"],
    y: Float[np.ndarray, " y"],
    seed: int = 0,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
) -> Association:
    """WEAT's effect size and the two-sided word-level permutation p, from one s(w) per word.

    A word seen in several templates is averaged over them first: sentences are no exchangeable
    units. p: share of the partitions of all words into sets of these sizes whose |difference of
    means| is at least the one seen, all of them up to 20 words, else (1 + #) / (1 + draws).
    The interval of d is that of the noncentral t, as if associations were normal within a set.
    Source: Caliskan 2017; both sides in absolute value, as two-sided demands.
    """
    if len(x) < 2 or len(y) < 2:
        raise NotEnoughData(f"each set needs two words, got {len(x)} and {len(y)}")
    every = np.concatenate([x, y]).astype(np.float64)
    if not np.isfinite(every).all():
        raise BadOption("associations must be finite: leave out, and count, words without one")
    spread = float(every.std(ddof=1))
    if spread <= SAME * max(float(np.abs(every).max()), 1e-300):
        raise NotEnoughData("all words are associated alike: d would divide by zero")
    every = every - every.mean()
    difference = float(x.mean() - y.mean())
    exact = len(every) <= EXACT_WORDS
    sums = _all_sums(every, len(x)) if exact else _drawn_sums(every, len(x), seed, draws)
    null = np.abs(sums) * (1 / len(x) + 1 / len(y))  # the rest adds up to the opposite
    far = int((null >= abs(difference) - SAME * spread).sum())
    ends = _ends(difference, x, y, confidence)
    return Association(
        d=Estimate(
            value=difference / spread,
            low=ends[0],
            high=ends[1],
            confidence=confidence,
            n=len(every),
            unit="standard deviations",
            method="noncentral t over words" if ends[0] < ends[1] else "no variation in the sets",
        ),
        difference=difference,
        p_value=far / len(null) if exact else (1 + far) / (1 + draws),
        exact=exact,
        partitions=len(null),
        smallest_p=(1 + (len(x) == len(y))) / len(null) if exact else 1 / (1 + draws),
        null_mean=float(null.mean() / spread),
        null_95=float(np.quantile(null, 0.95) / spread),
        ddof=1,
        n_x=len(x),
        n_y=len(y),
    )


def _all_sums(values: Float[np.ndarray, " words"], chosen: int) -> Float[np.ndarray, " partitions"]:
    sums, sizes = subset_sums(values)
    return np.asarray(sums[sizes == chosen])


def _drawn_sums(
    values: Float[np.ndarray, " words"], chosen: int, seed: int, draws: int
) -> Float[np.ndarray, " draws"]:
    """Sums of sets drawn without replacement; the words sorted, so that their order is no seed."""
    rng = np.random.default_rng(seed)
    rows = np.tile(np.sort(values), (draws, 1))
    return np.asarray(rng.permuted(rows, axis=1)[:, :chosen].sum(1))


def _ends(
    difference: float,
    x: Float[np.ndarray, " x"],
    y: Float[np.ndarray, " y"],
    confidence: float,
) -> tuple[float, float]:
    """The ends of d from those of the noncentral t: d is Cohen's d over the spread of all words.

    With sd of all words = sqrt(sw^2 (n - 2) + gap^2 nx ny / n) / sqrt(n - 1), in units of the sd
    within a set sw.
    """
    n, df = len(x) + len(y), len(x) + len(y) - 2
    ratio = len(x) * len(y) / n
    inner = float(((x - x.mean()) ** 2).sum() + ((y - y.mean()) ** 2).sum())

    def scaled(cohen: float) -> float:
        return cohen / math.sqrt((df + cohen**2 * ratio) / (n - 1))

    top = math.sqrt((n - 1) / ratio)  # of |d|: no spread within the sets
    gap = abs(difference)
    t = gap / math.sqrt(inner / df / ratio) if inner > (SAME * gap) ** 2 else math.inf
    low, high = top, top
    if t < FAR:
        tails = ((1 + confidence) / 2, (1 - confidence) / 2)
        # the noncentralities at which such a share of results lies under t
        low, high = (scaled(float(nctdtrinc(df, tail, t)) / math.sqrt(ratio)) for tail in tails)
    return (low, high) if difference >= 0 else (-high, -low)
