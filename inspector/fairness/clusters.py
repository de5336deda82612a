"""Items that share a template, a word or an occupation: intervals with the cluster as the unit."""

import dataclasses
import math
from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import nctdtr, ndtri, stdtrit

from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.uncertainty import ALPHA, CONFIDENCE, POWER, bisect, score_interval
from inspector.results import Estimate


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Totals:
    """A ratio's parts, summed over each cluster: its value is sum(above) / sum(below).

    With items pooled, `above` is the sum of values and `below` the number of items; with clusters
    weighing the same, `above` is the mean of a cluster and `below` is 1.
    """

    labels: tuple[Hashable, ...]
    above: Float[np.ndarray, " clusters"]
    below: Float[np.ndarray, " clusters"]
    n_items: int

    @property
    def value(self) -> float:
        """The ratio over all clusters."""
        return float(self.above.sum() / self.below.sum())

    def __len__(self) -> int:
        return len(self.labels)


def positions(labels: Sequence[Hashable] | np.ndarray) -> tuple[list[Hashable], np.ndarray]:
    """The distinct labels, sorted by their text, and the place among them of every item.

    Sorted, so that a result does not depend on the order in which items were read.
    """
    listed = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
    known = sorted(set(listed), key=str)
    places = {label: i for i, label in enumerate(known)}
    return known, np.array([places[label] for label in listed], dtype=np.intp)


def totals(
    values: Float[np.ndarray, " items"],
    clusters: Sequence[Hashable] | np.ndarray | None = None,
    weights: Float[np.ndarray, " items"] | None = None,
    equal: bool = False,
) -> Totals:
    """Values summed by cluster; None as clusters: every item stands alone.

    `weights`: what each item adds below the line (None: 1); a value then is what it adds above.
    `equal`: clusters count alike, whatever their size. NaN or infinite values are an error: what
    cannot be used is left out, and counted, by the caller.
    """
    below = np.ones(len(values)) if weights is None else weights
    if len(below) != len(values) or (clusters is not None and len(clusters) != len(values)):
        raise BadOption(f"{len(values)} values need as many clusters and weights")
    if not (np.isfinite(values).all() and np.isfinite(below).all() and (below >= 0).all()):
        raise BadOption("values must be finite: leave out, and count, those that could not be had")
    known, place = positions(np.arange(len(values)) if clusters is None else clusters)
    over, under = np.zeros(len(known)), np.zeros(len(known))
    np.add.at(over, place, values)
    np.add.at(under, place, below)
    if not under.sum() > 0:
        raise NotEnoughData(f"nothing to divide by: {len(values)} items with a total weight of 0")
    if equal:
        kept = np.flatnonzero(under > 0)
        known, over = [known[i] for i in kept], over[kept] / under[kept]
        under = np.ones(len(kept))
    return Totals(labels=tuple(known), above=over, below=under, n_items=len(values))


def standard_error(found: Totals) -> float:
    """Linearised standard error of a ratio of sums over clusters, with the m/(m - 1) correction.

    For clusters that weigh the same it is that of the mean. Source: Cochran 1977, section 6.3.
    """
    m = len(found)
    if m < 2:
        raise NotEnoughData(f"an interval over clusters needs two of them, got {m}")
    rest = found.above - found.value * found.below
    return math.sqrt(m / (m - 1) * float(rest @ rest)) / float(found.below.sum())


def t_interval(found: Totals, confidence: float = CONFIDENCE, unit: str = "nats") -> Estimate:
    """Student's interval of a ratio of sums, clusters as the unit, m - 1 degrees of freedom."""
    m = len(found)
    return student(
        found.value, standard_error(found), m - 1, confidence, m, unit, f"t over {m} clusters"
    )


def student(
    value: float,
    error: float,
    degrees: float,
    confidence: float,
    n: int,
    unit: str,
    method: str,
) -> Estimate:
    """Student's interval of a value with this standard error, of n items or clusters."""
    half = float(stdtrit(degrees, (1 + confidence) / 2)) * error
    return Estimate(
        value=value,
        low=value - half,
        high=value + half,
        confidence=confidence,
        n=n,
        unit=unit,
        method=method,
    )


def share_interval(found: Totals, confidence: float = CONFIDENCE, unit: str = "share") -> Estimate:
    """Wilson's interval of a share whose items come in clusters, at the effective number of items.

    above: successes (ties one half) and below: items of each cluster, or its share and 1; see
    `effective_interval`.
    """
    if not (found.above <= found.below + 1e-9).all() or (found.above < 0).any():
        raise BadOption("successes must lie between 0 and the items of their cluster")
    n = max(float(found.below.sum()), found.n_items)  # a cluster that counts as one has 1 below
    low, high, effective = effective_interval(
        found.value, standard_error(found), len(found), n, confidence
    )
    return Estimate(
        value=found.value,
        low=low,
        high=high,
        confidence=confidence,
        n=len(found),
        unit=unit,
        method=f"wilson at {effective:.1f} effective items of {n:g} in {len(found)} clusters",
    )


def effective_interval(
    share: float, error: float, clusters: int, items: float, confidence: float = CONFIDENCE
) -> tuple[float, float, float]:
    """Wilson's ends and the effective number of items: that of a simple sample with this error.

    At most `items`, times (z / t)^2 for the few clusters behind the error. Where clusters do not
    differ at all (none or all of them succeed) their number stands for it: never of width zero.
    Source: Korn & Graubard 1998, with Wilson's interval for Clopper and Pearson's.
    """
    z = float(ndtri((1 + confidence) / 2))
    effective = effective_items(share, error, clusters, items)
    effective *= (z / float(stdtrit(clusters - 1, (1 + confidence) / 2))) ** 2
    return *score_interval(share, effective, z), effective


def effective_items(share: float, error: float, clusters: int, items: float) -> float:
    """Size of a simple sample whose share has this standard error; at most `items`.

    Without any error between clusters it is their number.
    """
    spread = share * (1 - share)
    return min(items, spread / error**2) if error > 0 and spread > 0 else float(clusters)


def smallest_gap(
    error: float,
    clusters: int,
    power: float = POWER,
    alpha: float = ALPHA,
    tests: int = 1,
    most: float = math.inf,
) -> float | None:
    """Smallest true distance from no bias that this many clusters show with this power: the MDE.

    error: standard error of the estimate, in its unit; `tests`: size of the family, Bonferroni;
    `most`: how far from no bias there is anything. None where no result could reach alpha (a
    sign-flip test of m clusters has no p under 2 / 2^m), where nothing as far as that can be, and
    where the error is zero, which says nothing about the next cluster.
    With the noncentral t of m - 1 degrees of freedom. Source: Bloom 1995.
    """
    level = alpha / tests
    if clusters < 2 or not error > 0 or 2.0 ** (1 - min(clusters, 1000)) > level:
        return None
    edge = float(stdtrit(clusters - 1, 1 - level / 2))

    def missing(noncentral: float) -> float:
        inside = nctdtr(clusters - 1, noncentral, np.array([-edge, edge]))
        return float(1 - inside[1] + inside[0]) - power

    found = bisect(missing, 0, 2 * edge + 10) * error
    return found if found <= most else None
