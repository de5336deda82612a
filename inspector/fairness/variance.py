"""Where numbers vary: between templates, between targets, or neither; and what that costs."""

import dataclasses
import math
from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import fdtrc, fdtri

from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.clusters import positions, student
from inspector.fairness.uncertainty import CONFIDENCE
from inspector.results import Estimate

Labels = Sequence[Hashable] | np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Components:
    """Variance of items split into template, target and residual (with their interaction).

    In the square of the values' unit, none below zero (`clipped` names those that came out so).
    `icc_*`: share of the total. `p_*`: F test that the component is zero. `mean`: the mean over
    items with an interval for new templates and new targets alike.
    """

    template: float
    target: float
    residual: float
    icc_template: float
    icc_target: float
    p_template: float
    p_target: float
    mean: Estimate
    n_items: int
    n_templates: int
    n_targets: int
    clipped: tuple[str, ...]
    method: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class DesignEffect:
    """What clusters cost: `effect` = 1 + (size - 1) icc; `n_effective` = items / effect.

    `icc`: share of the variance between clusters, negative where items of a cluster repel.
    `size`: mean cluster size as an item sees it, sum of squares over sum. `effect` is never
    under 1 here: negative correlation is not taken as a gain.
    """

    icc: Estimate
    size: float
    effect: float
    n_effective: float
    n_items: int
    n_clusters: int


def components(
    values: Float[np.ndarray, " items"],
    templates: Labels,
    targets: Labels,
    confidence: float = CONFIDENCE,
    unit: str = "nats",
) -> Components:
    """Variance components of templates crossed with targets, by the method of moments.

    Henderson's method III (fitting constants), which on a complete table is the ANOVA estimate;
    cells may be missing or repeated. Interaction and noise are one: the residual. F tests are
    exact for normal values; the interval is Satterthwaite's. Source: Henderson 1953; Searle,
    Casella & McCulloch 1992, chapter 5.
    """
    cells, sums, squares = _table(values, templates, targets)
    n, rows, columns = float(cells.sum()), *cells.shape
    of_both, rank = _fitted(cells, sums)
    free = n - rank
    if rows < 2 or columns < 2 or free < 1 or rank in (rows, columns):
        raise NotEnoughData(
            f"{rows} templates and {columns} targets in {n:g} items cannot be told apart: "
            "cross at least two templates with two targets"
        )
    of_rows = _explained(sums.sum(1), cells.sum(1))
    of_columns = _explained(sums.sum(0), cells.sum(0))
    residual = max(0.0, squares - of_both) / free
    found, p_values = [], []
    for other, size, axis in ((of_columns, columns, 0), (of_rows, rows, 1)):
        extra, df = max(0.0, of_both - other), rank - size
        per = n - float((cells**2).sum(axis) @ (1 / cells.sum(axis)))
        found.append((extra - df * residual) / per)
        p_values.append(float(fdtrc(df, free, extra / df / residual)) if residual > 0 else 0.0)
    template, target = (max(0.0, part) for part in found)
    parts = (template, target, residual)
    total = sum(parts)
    if total <= _rounding(values):
        raise NotEnoughData("all values are alike: there is no variance to split")
    return Components(
        template=template,
        target=target,
        residual=residual,
        icc_template=template / total,
        icc_target=target / total,
        p_template=p_values[0],
        p_target=p_values[1],
        mean=_mean(cells, float(values.mean()), parts, free, confidence, unit),
        n_items=len(values),
        n_templates=rows,
        n_targets=columns,
        clipped=tuple(
            name for name, part in zip(("template", "target"), found, strict=True) if part < 0
        ),
        method="henderson III",
    )


def design_effect(
    values: Float[np.ndarray, " items"], clusters: Labels, confidence: float = CONFIDENCE
) -> DesignEffect:
    """Intraclass correlation, design effect and effective number of items of clustered values.

    One-way ANOVA estimate, interval from F (exact for normal values and equal sizes). Source:
    Donner 1986 (icc); Kish 1965 (effect).
    """
    known, place = positions(clusters)
    n, m = len(values), len(known)
    if len(place) != n or not np.isfinite(values).all():
        raise BadOption("values must be finite, with one cluster each")
    if m < 2 or n <= m:
        raise NotEnoughData(f"an intraclass correlation needs repeats: {n} items, {m} clusters")
    sizes = np.bincount(place).astype(np.float64)
    means = np.bincount(place, values) / sizes
    inner = float(((values - means[place]) ** 2).sum()) / (n - m)
    outer = float(sizes @ (means - values.mean()) ** 2) / (m - 1)
    common = (n - float((sizes**2).sum()) / n) / (m - 1)
    if max(inner, outer) <= _rounding(values):
        raise NotEnoughData("all values are alike: there is no variance to split")

    def of(f: float) -> float:
        return (f - 1) / (f - 1 + common) if np.isfinite(f) else 1.0

    f = outer / inner if inner > 0 else np.inf
    tail = (1 + confidence) / 2
    low, high = (of(f / float(fdtri(m - 1, n - m, q))) for q in (tail, 1 - tail))
    size = float((sizes**2).sum()) / n
    effect = max(1.0, 1 + (size - 1) * of(f))
    return DesignEffect(
        icc=Estimate(
            value=of(f), low=low, high=high, confidence=confidence, n=m, unit="share", method="F"
        ),
        size=size,
        effect=effect,
        n_effective=n / effect,
        n_items=n,
        n_clusters=m,
    )


def _rounding(values: Float[np.ndarray, " items"]) -> float:
    """A variance that only rounding can have made."""
    return (1e-12 * float(np.abs(values).max())) ** 2


def _table(
    values: Float[np.ndarray, " items"], templates: Labels, targets: Labels
) -> tuple[np.ndarray, np.ndarray, float]:
    """Counts and sums of the cells, about the mean of all; and the sum of squares."""
    (rows, row), (columns, column) = positions(templates), positions(targets)
    if not len(row) == len(column) == len(values) or not np.isfinite(values).all():
        raise BadOption("values must be finite, with one template and one target each")
    cells, sums = np.zeros((len(rows), len(columns))), np.zeros((len(rows), len(columns)))
    np.add.at(cells, (row, column), 1)
    apart = values - values.mean()  # every sum of squares is about the mean of all
    np.add.at(sums, (row, column), apart)
    return cells, sums, float((apart**2).sum())


def _explained(sums: Float[np.ndarray, " groups"], sizes: Float[np.ndarray, " groups"]) -> float:
    return float((sums**2 / sizes).sum())


def _fitted(
    cells: Float[np.ndarray, "rows columns"], sums: Float[np.ndarray, "rows columns"]
) -> tuple[float, int]:
    """Sum of squares and rank of templates and targets together, the larger side swept out."""
    if cells.shape[0] > cells.shape[1]:
        cells, sums = cells.T, sums.T
    share = cells / cells.sum(0)
    reduced = np.diag(cells.sum(1)) - share @ cells.T
    right = sums.sum(1) - share @ sums.sum(0)
    solution, _, rank, _ = np.linalg.lstsq(reduced, right, rcond=1e-10)
    explained = _explained(sums.sum(0), cells.sum(0)) + float(solution @ right)
    return explained, cells.shape[1] + int(rank)


def _mean(
    cells: Float[np.ndarray, "rows columns"],
    value: float,
    parts: tuple[float, float, float],
    free: float,
    confidence: float,
    unit: str,
) -> Estimate:
    """The mean with the variance of new templates and targets; Satterthwaite's degrees."""
    n = float(cells.sum())
    noise = parts[2] / n
    pieces = [
        part * float((cells.sum(axis) ** 2).sum()) / n**2 + noise
        for part, axis in ((parts[0], 1), (parts[1], 0))
    ]
    variance = sum(pieces) - noise
    frees = (cells.shape[0] - 1, cells.shape[1] - 1, free)
    parted = zip((*pieces, noise), frees, strict=True)
    degrees = 1 / sum((v / variance) ** 2 / f for v, f in parted)
    told = f"crossed, t with {degrees:.1f} degrees of freedom"
    return student(value, math.sqrt(variance), degrees, confidence, int(n), unit, told)
