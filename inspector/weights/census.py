"""What a model is made of: its layers, roles and kinds as populations, and who stands out."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt

from inspector.weights.architecture import Placement
from inspector.weights.formats import FORMATS, decode, top
from inspector.weights.header import TensorEntry
from inspector.weights.statistics import TensorStatistics, shape_of
from inspector.weights.tally import QUANTILES, Moments, Tally

NOT_PARAMETERS = ("buffer", "scale")
Block = tuple[str | None, int | None]  # stack ("encoder", "decoder", ...) and index in it
FEWEST_PEERS = 5
FAR = 5.0  # robust standard deviations from the median of the peers (1.4826 MAD), and
FACTOR = 2.0  # at least this factor from it: a tight family must not make small things large


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupStatistics:
    """Many tensors as one population: the model, or its tensors of one layer, role or kind.

    `by` says which of layer, role and kind are set; a layer of None is what stands outside blocks.

    Moments, extremes and counts are exact. Quantiles are exact up to 16-bit dtypes; with wider
    ones each lies within `quantile_error` of the truth (their 16 leading bits are counted).
    """

    by: str
    stack: str | None
    layer: int | None
    role: str | None
    kind: str | None
    tensors: int
    parameters: int
    share: float
    bytes: int
    mean: float | None
    std: float | None
    skewness: float | None
    kurtosis: float | None
    min: float | None
    max: float | None
    l1: float | None
    l2: float | None
    rms: float | None
    zeros: int
    nan: int
    inf: int
    subnormals: int
    q01: float | None
    q05: float | None
    q25: float | None
    q50: float | None
    q75: float | None
    q95: float | None
    q99: float | None
    quantile_error: float | None


class Group:
    """Adds tallies up; of a tensor only its moments are held."""

    def __init__(self) -> None:
        self.tensors = self.bytes = self.zeros = self.nan = self.inf = self.subnormals = self.n = 0
        self._moments: list[tuple[float, ...]] = []  # combined when asked for: once, not per tensor
        self.minimum, self.maximum = math.inf, -math.inf
        self.top: dict[str, UInt[np.ndarray, " bins"]] = {}

    def add(self, entry: TensorEntry, tally: Tally) -> None:
        """Take one tensor in."""
        self.tensors += 1
        self.bytes += entry.bytes
        if tally.minimum is not None and tally.maximum is not None:
            self.minimum = min(self.minimum, tally.minimum)
            self.maximum = max(self.maximum, tally.maximum)
        self._moments.append(tally.moments.row())
        self._add_counts(tally, {tally.dtype: tally.top})

    def absorb(self, other: "Group") -> None:
        """Take all tensors of another group in."""
        self.tensors += other.tensors
        self.bytes += other.bytes
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)
        self._moments += other._moments
        self._add_counts(other, other.top)

    def _add_counts(
        self, other: "Tally | Group", tops: Mapping[str, UInt[np.ndarray, " bins"]]
    ) -> None:
        for field in ("zeros", "nan", "inf", "subnormals", "n"):
            setattr(self, field, getattr(self, field) + getattr(other, field))
        for dtype, counts in tops.items():
            if dtype in self.top:
                self.top[dtype] += counts
            else:
                self.top[dtype] = counts.astype(np.uint64)

    @property
    def moments(self) -> Moments:
        """The moments of all values taken in."""
        return Moments.of_rows(np.array([Moments().row(), *self._moments]))

    def statistics(
        self,
        parameters: int,
        by: str,
        block: Block = (None, None),
        role: str | None = None,
        kind: str | None = None,
    ) -> GroupStatistics:
        """The record of the group; `parameters` is what its share is of."""
        moments = self.moments
        middle, error = self._quantiles() if moments.n else ((None,) * len(QUANTILES), None)
        ends = (self.minimum, self.maximum) if moments.n else (None, None)
        return GroupStatistics(
            by=by,
            stack=block[0],
            layer=block[1],
            role=role,
            kind=kind,
            tensors=self.tensors,
            parameters=self.n,
            share=self.n / parameters if parameters else 0.0,
            bytes=self.bytes,
            **dataclasses.asdict(shape_of(moments, *ends)),
            min=ends[0],
            max=ends[1],
            zeros=self.zeros,
            nan=self.nan,
            inf=self.inf,
            subnormals=self.subnormals,
            **dict(zip(("q01", "q05", "q25", "q50", "q75", "q95", "q99"), middle, strict=True)),
            quantile_error=error,
        )

    def _quantiles(self) -> tuple[Sequence[float | None], float | None]:
        """(middle of the range each quantile lies in, the widest half range)."""
        low, high, counts = bins_by_value(self.top)
        first, last = weighted_quantiles(low, counts), weighted_quantiles(high, counts)
        return [(a + b) / 2 for a, b in zip(first, last, strict=True)], max(
            (b - a) / 2 for a, b in zip(first, last, strict=True)
        )


def bins_by_value(
    tops: dict[str, UInt[np.ndarray, " bins"]],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], UInt[np.ndarray, " n"]]:
    """(lowest value, highest value, count) of every used bin of finite values, over all dtypes."""
    lows, highs, counts = [], [], []
    for dtype, count in tops.items():
        bins = np.flatnonzero((count > 0) & top(dtype).finite)
        low_bits = np.uint64(FORMATS[dtype].bits - FORMATS[dtype].top_bits)
        first = bins.astype(np.uint64) << low_bits
        ends = (
            decode(dtype, first),
            decode(dtype, first | ((np.uint64(1) << low_bits) - np.uint64(1))),
        )
        lows.append(np.minimum(*ends))
        highs.append(np.maximum(*ends))
        counts.append(count[bins])
    return np.concatenate(lows), np.concatenate(highs), np.concatenate(counts)


def weighted_quantiles(
    values: Float[np.ndarray, " n"],
    counts: UInt[np.ndarray, " n"],
    at: Iterable[float] = QUANTILES,
) -> list[float]:
    """The order statistics x[ceil(n q)] of values that each stand `counts` times."""
    order = np.argsort(values, kind="stable")
    ends = np.cumsum(counts[order].astype(np.int64))
    n = int(ends[-1])
    ranks = [max(math.ceil(n * q - 1), 0) for q in at]
    return [float(values[order[np.searchsorted(ends, r, side="right")]]) + 0.0 for r in ranks]


class Census:
    """Sorts tensors into populations as they come."""

    def __init__(self) -> None:
        self._cells: dict[tuple[Block, str], Group] = {}
        self._roles: dict[str, Group] = {}

    def add(self, entry: TensorEntry, placement: Placement, tally: Tally) -> None:
        """Take one tensor in, unless it is a buffer, a scale or a second name of a matrix."""
        if placement.kind in NOT_PARAMETERS or placement.alias_of is not None:
            return
        block = (placement.stack if placement.layer is not None else None, placement.layer)
        self._cells.setdefault((block, placement.kind), Group()).add(entry, tally)
        self._roles.setdefault(placement.role, Group()).add(entry, tally)

    def records(self) -> list[GroupStatistics]:
        """The model, then by kind, by role, by layer, and by layer and kind."""
        model = _union(self._cells.values())
        n = model.n
        kinds = sorted({kind for _, kind in self._cells})
        blocks = sorted({block for block, _ in self._cells}, key=_by_depth)
        records = [model.statistics(n, "model")]
        for kind in kinds:
            group = _union(g for (_, k), g in self._cells.items() if k == kind)
            records.append(group.statistics(n, "kind", kind=kind))
        for role, group in self._roles.items():
            records.append(group.statistics(n, "role", role=role))
        for block in blocks:
            cells = {k: g for (at, k), g in self._cells.items() if at == block}
            records.append(_union(cells.values()).statistics(n, "layer", block))
            records += [
                group.statistics(n, "layer and kind", block, kind=kind)
                for kind, group in sorted(cells.items())
            ]
        return records


def _by_depth(block: Block) -> tuple[bool, str, int]:
    """A key that puts blocks in order of stack and depth, and what stands outside them last."""
    stack, layer = block
    return layer is None, stack or "", layer or 0


def _union(groups: Iterable[Group]) -> Group:
    union = Group()
    for group in groups:
        union.absorb(group)
    return union


@dataclasses.dataclass(frozen=True, kw_only=True)
class StandOut:
    """A tensor whose `measure` is far from that of the same role and kind in other layers.

    `distance` is in robust standard deviations (1.4826 MAD) of the log over `peers` tensors; None
    where the peers are alike, so that they have none.
    """

    name: str
    layer: int | None
    role: str
    kind: str
    measure: str
    value: float
    median: float
    distance: float | None
    peers: int


def stand_outs(
    records: Sequence[TensorStatistics], placements: Mapping[str, Placement]
) -> list[StandOut]:
    """Tensors far from their peers in size (rms) or in tails (abs_max / rms), farthest first.

    Peers have the same role and kind, in the same stack.
    """
    families: dict[tuple[str | None, str, str], list[TensorStatistics]] = {}
    for record in records:
        measured = record.layer is not None and record.rms and record.abs_max
        if measured and record.kind not in NOT_PARAMETERS:
            stack = placements[record.name].stack
            families.setdefault((stack, record.role, record.kind), []).append(record)
    found = []
    for family in families.values():
        if len(family) >= FEWEST_PEERS:
            found += _far(family, "rms", [r.rms or 0.0 for r in family])
            found += _far(
                family, "abs_max / rms", [(r.abs_max or 0.0) / (r.rms or 1.0) for r in family]
            )
    return sorted(found, key=lambda s: -math.inf if s.distance is None else -s.distance)


def _far(
    family: Sequence[TensorStatistics], measure: str, values: Sequence[float]
) -> list[StandOut]:
    logs = np.log(values)
    centre = float(np.median(logs))
    spread = 1.4826 * float(np.median(np.abs(logs - centre)))
    return [
        StandOut(
            name=record.name,
            layer=record.layer,
            role=record.role,
            kind=record.kind,
            measure=measure,
            value=value,
            median=math.exp(centre),
            distance=float(abs(log - centre) / spread) if spread else None,
            peers=len(family) - 1,
        )
        for record, value, log in zip(family, values, logs.tolist(), strict=True)
        if abs(log - centre) >= max(FAR * spread, math.log(FACTOR))
    ]
