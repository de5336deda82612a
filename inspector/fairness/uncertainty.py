"""Shares and families of tests: Wilson intervals, exact tests, power, Holm and Benjamini-Hochberg.

Everything here treats the items as independent; `clusters` is for items that share a template, a
word or an occupation.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import bdtr, bdtrc, gammaln, ndtri, xlog1py, xlogy

from inspector.errors import BadOption, NotEnoughData
from inspector.results import Estimate

CONFIDENCE = 0.95
ALPHA = 0.05
POWER = 0.8  # of the minimum detectable effect


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preference:
    """How often one side of a pair scores above the other, ties counted one half and shown.

    `share` is in [0, 1], 0.5: no preference. `p_value` is of the exact test on the untied items;
    `mde80` the smallest share above one half that n untied items show with power 0.8 (None: none).
    `h` is Cohen's h of the share against one half.
    """

    share: Estimate
    p_value: float
    h: float
    n_items: int
    n_above: int
    n_below: int
    n_ties: int
    n_excluded: int
    mde80: float | None


def wilson(
    successes: float, n: int, confidence: float = CONFIDENCE, unit: str = "share"
) -> Estimate:
    """Wilson's score interval of a share; never of width zero, also at 0 of n and n of n.

    `successes` may hold halves (ties). Source: Wilson 1927; Newcombe 1998, method 3.
    """
    if n < 1:
        raise NotEnoughData("a share needs at least one item, got none")
    if not 0 <= successes <= n:
        raise BadOption(f"successes must lie in [0, {n}], got {successes}")
    value = successes / n
    low, high = score_interval(value, n, _normal(confidence))
    return Estimate(
        value=value, low=low, high=high, confidence=confidence, n=n, unit=unit, method="wilson"
    )


def score_interval(share: float, n: float, z: float) -> tuple[float, float]:
    """The ends of Wilson's interval for any effective number of items and any quantile z."""
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    low = 0.0 if share == 0 else max(0.0, middle - half)
    high = 1.0 if share == 1 else min(1.0, middle + half)
    return low, high


def binomial_test(successes: int, n: int, share: float = 0.5) -> float:
    """Exact two-sided p of k successes in n: the probability of all outcomes as rare or rarer.

    At one half it is the sign test; no items give 1. Source: Clopper & Pearson's binomial law,
    two-sided as in R's binom.test.
    """
    if not 0 <= successes <= n or not 0 < share < 1:
        raise BadOption(f"{successes} of {n} at share {share}: not a binomial outcome")
    if share == 0.5:
        return min(1.0, 2 * float(bdtr(min(successes, n - successes), n, 0.5)))
    k = np.arange(n + 1)
    log = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    log = log + xlogy(k, share) + xlog1py(n - k, -share)
    rare = log <= log[successes] + 1e-7  # equal in exact arithmetic, apart in floating point
    return min(1.0, float(np.exp(log[rare]).sum()))


def preference(
    gaps: Float[np.ndarray, " items"], confidence: float = CONFIDENCE, alpha: float = ALPHA
) -> Preference:
    """Share of items whose gap is above zero: ties one half, tested on the untied, NaN excluded.

    gaps: per item score(one) - score(other), unrounded. With nothing but ties the share is one
    half and p is 1, which is no evidence of fairness: see `verdicts.judge`.
    """
    known = gaps[~np.isnan(gaps)]
    if not known.size:
        raise NotEnoughData(f"no item can be used: {gaps.size} given, all without a number")
    above, below = int((known > 0).sum()), int((known < 0).sum())
    ties = known.size - above - below
    share = wilson(above + ties / 2, known.size, confidence)
    mde = smallest_share(above + below, alpha=alpha)
    return Preference(
        share=share,
        p_value=binomial_test(above, above + below),
        h=cohens_h(share.value, 0.5),
        n_items=int(known.size),
        n_above=above,
        n_below=below,
        n_ties=ties,
        n_excluded=int(gaps.size - known.size),
        mde80=None if mde is None else 0.5 + (mde - 0.5) * (above + below) / known.size,
    )


def cohens_h(one: float, other: float) -> float:
    """Difference of two shares on the arcsine scale, in [-pi, pi]; 0: equal.

    0.2 is called small, 0.5 medium, 0.8 large. Source: Cohen 1988, chapter 6.
    """
    return 2 * math.asin(math.sqrt(one)) - 2 * math.asin(math.sqrt(other))


def binomial_power(share: float, n: int, alpha: float = ALPHA, tests: int = 1) -> float:
    """Probability that the exact two-sided test against one half rejects when `share` is true.

    `tests`: size of the family, Bonferroni. In [0, 1]; 0 where n is too small to ever reject.
    """
    edge = _edge(n, alpha / tests)
    if edge < 0:
        return 0.0
    return _beyond(edge, n, share)


@functools.lru_cache(maxsize=4096)  # the same few sizes of category, again and again
def smallest_share(
    n: int, power: float = POWER, alpha: float = ALPHA, tests: int = 1
) -> float | None:
    """Smallest share above one half that n items show with this power: the MDE; None: none does.

    Exact two-sided binomial test at alpha (over `tests`: Bonferroni). By symmetry 1 - MDE is as
    detectable. Round it up where it is printed. "Not detectable at this n" is never "unbiased".
    """
    edge = _edge(n, alpha / tests)
    if edge < 0:
        return None
    return bisect(lambda share: _beyond(edge, n, share) - power, 0.5, 1.0)


def bisect(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function passes zero in an interval, to the last bits."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return high


def _beyond(edge: int, n: int, share: float) -> float:
    return float(bdtr(edge, n, share) + bdtrc(n - edge - 1, n, share))


def _edge(n: int, alpha: float) -> int:
    """Most successes at which the two-sided sign test rejects on the low side; -1: never."""
    below = 2 * bdtr(np.arange(n // 2 + 1), n, 0.5) <= alpha
    return int(below.sum()) - 1


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p: controls the chance of any false rejection, under any dependence.

    None stands for a test that was not made: it stays None and does not count in the family.
    For few confirmatory tests. Source: Holm 1979.
    """
    return _adjusted(p_values, _holm)


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """Benjamini and Hochberg's adjusted p: controls the expected share of false rejections.

    None as in `holm`. For many exploratory tests, independent or positively dependent. Source:
    Benjamini & Hochberg 1995.
    """
    return _adjusted(p_values, _benjamini_hochberg)


def _holm(rising: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    tests = len(rising)
    return np.maximum.accumulate(rising * np.arange(tests, 0, -1))


def _benjamini_hochberg(rising: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    tests = len(rising)
    scaled = rising * tests / np.arange(1, tests + 1)
    return np.minimum.accumulate(scaled[::-1])[::-1]


def _adjusted(
    p_values: Sequence[float | None], method: Callable[[np.ndarray], np.ndarray]
) -> list[float | None]:
    made = [i for i, p in enumerate(p_values) if p is not None]
    values = np.array([p_values[i] for i in made], dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():  # NaN too
        raise BadOption(f"p-values must lie in [0, 1], got {list(p_values)}")
    order = np.argsort(values, kind="stable")
    found = np.empty(len(made))
    found[order] = np.minimum(1, method(values[order]))
    out: list[float | None] = [None] * len(p_values)
    for place, p in zip(made, found, strict=True):
        out[place] = float(p)
    return out


def _normal(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise BadOption(f"confidence must lie between 0 and 1, got {confidence}")
    return float(ndtri((1 + confidence) / 2))
