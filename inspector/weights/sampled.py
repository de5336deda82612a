"""Estimates of every tensor from random blocks of it, each with the range it may lie in."""

import dataclasses
import hashlib
import math
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.stats
from jaxtyping import Float

from inspector.engine import Progress, no_progress, ordered_map
from inspector.errors import BadOption, CheckpointError
from inspector.results import Coverage, Records, Skipped, show_plain
from inspector.weights.architecture import Placement, place
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.formats import FORMATS, UNREADABLE
from inspector.weights.header import TensorEntry
from inspector.weights.problems import Log
from inspector.weights.scan import choose, read_values
from inspector.weights.storage import Reader
from inspector.weights.tally import QUANTILES

CONFIDENCE = 0.95
FEWEST, MOST = 32, 256  # blocks of a tensor
BLOCK = 64 * 2**10  # bytes of a block, between those numbers of blocks
MOST_VALUES = 2**23  # of one tensor: past that the band is narrower than any use of it
GRID = np.arange(1, 100) / 100  # quantiles at which the blocks are compared
METHOD = (
    "quantiles: Dvoretzky-Kiefer-Wolfowitz band at n / design effect values; mean and std: "
    "t intervals over blocks"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampledStatistics:
    """Estimates of one tensor from `values` of its values in `blocks` random blocks.

    All over finite values. `*_low` and `*_high` hold the truth with probability `confidence`
    (the quantiles all at once); None where the sample bounds it on one side only. With very heavy
    tails, or a scale that differs wildly between rows, the range of the std holds less often: 68 to
    88 of 100 draws of rows with lognormal scale and of Student-t 2.5 values.
    `band` is how far the share of values below any number may be from the share in the sample,
    `design_effect` by how much blocks tell less than as many single values (1: no less). What fills
    less than the share `unseen` of the tensor may lie in no block, and no band knows of it.
    `exact`: all of it was read, and low = value = high. `nan` and `inf` are counts among the
    values read.
    """

    name: str
    layer: int | None
    role: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    shard: str
    parameters: int
    bytes: int
    bytes_read: int
    values: int
    blocks: int
    design_effect: float | None
    band: float | None
    unseen: float
    confidence: float
    mean: float | None
    mean_low: float | None
    mean_high: float | None
    std: float | None
    std_low: float | None
    std_high: float | None
    q01: float | None
    q01_low: float | None
    q01_high: float | None
    q05: float | None
    q05_low: float | None
    q05_high: float | None
    q25: float | None
    q25_low: float | None
    q25_high: float | None
    q50: float | None
    q50_low: float | None
    q50_high: float | None
    q75: float | None
    q75_low: float | None
    q75_high: float | None
    q95: float | None
    q95_low: float | None
    q95_high: float | None
    q99: float | None
    q99_low: float | None
    q99_high: float | None
    nan: int
    inf: int
    exact: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Plan:
    """Which elements of a tensor are read: (start, stop) of each block, in file order."""

    entry: TensorEntry
    blocks: tuple[tuple[int, int], ...]

    @property
    def values(self) -> int:
        return sum(stop - start for start, stop in self.blocks)

    @property
    def bytes(self) -> int:
        return -(-self.values * FORMATS[self.entry.dtype].bits // 8)


def sampled_scan(
    checkpoint: Checkpoint,
    bytes: int,
    where: str | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Records[SampledStatistics]:
    """Mean, std and quantiles of every tensor from at most `bytes` of them, with their ranges.

    The budget is shared evenly; a tensor smaller than its share is read whole and is exact. Others
    are cut into runs of equal length, and of each run one block is drawn at random. The same `seed`
    draws the same blocks. `progress` is called with bytes. Raises BadOption for a budget of
    nothing. Values that are rare may lie in no block: extremes are not estimated. Whether tied
    tensors are equal is not looked up. Far away each block is a request of its own, and what lies
    between two blocks closer than 16 KiB comes along with them, beyond the budget.
    Source: Dvoretzky, Kiefer, Wolfowitz 1956 with Massart's constant (1990); design effect after
    Kish 1965. Band: sqrt(ln(2 / delta) / (2 n_eff)), n_eff = 1 / (4 v), v the largest variance
    between blocks of the share below a number, widened by Student's t for few blocks and narrowed
    by the share that was read; n_eff is at least the number of blocks (Hoeffding 1963).
    """
    if bytes < 1:
        raise BadOption(f"A sample needs at least 1 byte, not {bytes}.")
    chosen = choose(checkpoint.tensors, where)
    placements = place(checkpoint.tensors, checkpoint.config).placements
    plans, skipped = _plans(chosen, bytes, seed)
    log = Log()
    records, done, total = [], 0, sum(plan.bytes for plan in plans)
    with checkpoint.reader([piece for plan in plans for piece in _pieces(plan)]) as reader:

        def measure(plan: _Plan) -> SampledStatistics | str:
            try:
                return _estimated(plan, placements[plan.entry.name], reader)
            except CheckpointError as error:
                return str(error)

        for plan, found in zip(plans, ordered_map(measure, plans), strict=True):
            name = show_plain(plan.entry.name)
            if isinstance(found, str):
                skipped.append(Skipped(name=name, reason=found))
                log.add("WT-UNREAD", name, f"not measured: {found}", dtype=plan.entry.dtype)
            else:
                records.append(found)
                _tell(found, log)
            done += plan.bytes
            progress(done, total, show_plain(plan.entry.name, 60))
    return _result(checkpoint, chosen, records, skipped, log, bytes, where, seed)


def _plans(
    chosen: Sequence[TensorEntry], budget: int, seed: int
) -> tuple[list[_Plan], list[Skipped]]:
    """What to read of each tensor: an even share, what small ones leave over to the others."""
    why = {entry: entry.unreadable or UNREADABLE.get(entry.dtype) for entry in chosen}
    entries = [entry for entry in chosen if why[entry] is None]
    share: dict[int, int] = {}
    left = budget
    for place_in_order, i in enumerate(sorted(range(len(entries)), key=lambda i: entries[i].bytes)):
        share[i] = min(entries[i].bytes, left // (len(entries) - place_in_order))
        left -= share[i]
    plans = [_plan(entry, share[i], seed) for i, entry in enumerate(entries)]
    for plan in plans:
        if not plan.blocks and plan.entry.parameters:
            told = f"its share of {budget:,} bytes holds no {FEWEST} blocks: sample more"
            why[plan.entry] = told
    return [plan for plan in plans if why[plan.entry] is None], [
        Skipped(name=show_plain(entry.name), reason=reason)
        for entry, reason in why.items()
        if reason is not None
    ]


def _plan(entry: TensorEntry, share: int, seed: int) -> _Plan:
    n, bits = entry.parameters, FORMATS[entry.dtype].bits
    whole = share >= entry.bytes and n <= MOST_VALUES
    share = min(share, MOST_VALUES * bits // 8)
    count = min(max(share // BLOCK, FEWEST), MOST)
    size = share // count * 8 // bits // 2 * 2  # even: two 4-bit values share a byte
    if whole:
        count, size = FEWEST, max(-(-n // FEWEST // 2) * 2, 2)
        chosen = np.arange(-(-n // size))
    elif size == 0:
        return _Plan(entry=entry, blocks=())
    else:
        name = int.from_bytes(hashlib.sha256(entry.name.encode("utf-8", "replace")).digest()[:8])
        draw = np.random.default_rng([seed, name])
        edges = np.arange(count + 1) * -(-n // size) // count
        chosen = draw.integers(edges[:-1], edges[1:])
    blocks = tuple((i * size, min((i + 1) * size, n)) for i in chosen.tolist())
    return _Plan(entry=entry, blocks=blocks)


def _pieces(plan: _Plan) -> Iterator[TensorEntry]:
    """The blocks as places in the file."""
    entry, bits = plan.entry, FORMATS[plan.entry.dtype].bits
    for start, stop in plan.blocks:
        begin, end = entry.start + start * bits // 8, entry.start + -(-stop * bits // 8)
        yield dataclasses.replace(entry, start=begin, end=end)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Band:
    """How far the share of values below any number may be off, and the design effect in it."""

    width: float
    design_effect: float


def band(
    blocks: Sequence[Float[np.ndarray, " _"]], unread: float, confidence: float = CONFIDENCE
) -> Band:
    """The band of the distribution from blocks of finite values; `unread` is the share not read.

    Width 0 where all was read. See `sampled_scan` for the formula and its sources.
    """
    k, pooled = len(blocks), np.sort(np.concatenate(blocks))
    n = len(pooled)
    points = pooled[np.ceil(GRID * n).astype(int) - 1]
    below = np.array(
        [np.searchsorted(np.sort(block), points, side="right") for block in blocks], np.float64
    )
    sizes = np.array([len(block) for block in blocks], np.float64)
    variance = _variance(below, sizes)
    least = 0.25 / n  # of as many single values, where half of them lie below
    effect = max(float(variance.max()) / least, 1.0) if k > 1 else float(n)
    student = scipy.stats.t.ppf((1 + confidence) / 2, max(k - 1, 1))
    normal = scipy.stats.norm.ppf((1 + confidence) / 2)
    effective = max(n / (effect * (student / normal) ** 2), k)
    width = math.sqrt(math.log(2 / (1 - confidence)) / (2 * effective) * unread)
    return Band(width=min(width, 1.0), design_effect=effect)


def _variance(
    sums: Float[np.ndarray, "blocks points"], sizes: Float[np.ndarray, " blocks"]
) -> Float[np.ndarray, " points"]:
    """Variance of sum(sums) / sum(sizes) over the draw of k blocks of unequal sizes (a ratio)."""
    k = len(sizes)
    ratio = sums.sum(axis=0) / sizes.sum()
    off = (sums - np.multiply.outer(sizes, ratio)) / sizes.mean()
    variance: Float[np.ndarray, " points"] = (off**2).sum(axis=0) / (k * max(k - 1, 1))
    return variance


def _error(
    sums: Float[np.ndarray, " blocks"], sizes: Float[np.ndarray, " blocks"], unread: float
) -> float:
    """Standard error of sum(sums) / sum(sizes); 0 where all was read."""
    return math.sqrt(float(_variance(sums[:, None], sizes)[0]) * unread) if unread else 0.0


def _estimated(plan: _Plan, placement: Placement, reader: Reader) -> SampledStatistics:
    entry = plan.entry
    read = [read_values(entry, reader, start, stop) for start, stop in plan.blocks]
    finite = [block[np.isfinite(block)] for block in read]
    finite = [block for block in finite if len(block)]
    unread = 1 - plan.values / entry.parameters if entry.parameters else 0.0
    found = band(finite, unread) if finite else None
    return SampledStatistics(
        name=entry.name,
        layer=placement.layer,
        role=placement.role,
        kind=placement.kind,
        shape=entry.shape,
        dtype=entry.dtype,
        shard=entry.file,
        parameters=entry.parameters,
        bytes=entry.bytes,
        bytes_read=plan.bytes,
        values=plan.values,
        blocks=len(plan.blocks),
        design_effect=found.design_effect if found and unread else None,
        band=found.width if found else None,
        unseen=1 - (1 - CONFIDENCE) ** (1 / len(plan.blocks)) if unread else 0.0,
        confidence=1.0 if not unread else CONFIDENCE,
        **_moments(finite, unread),
        **_quantiles(finite, found.width if found else 0.0),
        nan=sum(int(np.isnan(block).sum()) for block in read),
        inf=sum(int(np.isinf(block).sum()) for block in read),
        exact=not unread,
    )


def _moments(finite: Sequence[Float[np.ndarray, " _"]], unread: float) -> dict[str, float | None]:
    """Mean and (population) std with their ranges; None where float64 cannot hold one."""
    names = [f"{what}{end}" for what in ("mean", "std") for end in ("", "_low", "_high")]
    if not finite:
        return dict.fromkeys(names)
    sizes = np.array([len(block) for block in finite], np.float64)
    reach = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, max(len(finite) - 1, 1)))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        sums = np.array([block.sum() for block in finite])
        mean = float(sums.sum() / sizes.sum())
        off = reach * _error(sums, sizes, unread)
        squares = np.array([((block - mean) ** 2).sum() for block in finite])
        square = float(squares.sum() / sizes.sum())
        wide = reach * _error(squares, sizes, unread)
        std = math.sqrt(square) if math.isfinite(square) else math.nan
        factor = math.exp(min(wide / (2 * square), 700.0)) if square > 0 else 1.0
        numbers = (mean, mean - off, mean + off, std, std / factor, std * factor)
    if len(finite) < 2 and unread:  # one block says nothing about the others
        numbers = (mean, math.nan, math.nan, std, math.nan, math.nan)
    known = [number if math.isfinite(number) else None for number in numbers]
    return dict(zip(names, known, strict=True))


def _quantiles(finite: Sequence[Float[np.ndarray, " _"]], width: float) -> dict[str, float | None]:
    """The quantiles (numpy's `inverted_cdf`) and the order statistics at the ends of the band."""
    ordered = np.sort(np.concatenate(finite)) if finite else np.zeros(0)
    n = len(ordered)

    def at(share: float) -> float | None:
        if not n or not 0 < share < 1:
            return None
        return float(ordered[max(math.ceil(n * share - 1e-9 * width), 1) - 1]) + 0.0

    found: dict[str, float | None] = {}
    for q in QUANTILES:
        name = f"q{round(100 * q):02d}"
        found |= {name: at(q), f"{name}_low": at(q - width), f"{name}_high": at(q + width)}
    return found


def _tell(record: SampledStatistics, log: Log) -> None:
    for id, what, count in (("WT-NAN", "NaN", record.nan), ("WT-INF", "infinite", record.inf)):
        if count:
            told = f"{count:,} of the {record.values:,} values that were read are {what}"
            log.add(id, show_plain(record.name), told, count=count, values=record.values)


def _result(
    checkpoint: Checkpoint,
    chosen: Sequence[TensorEntry],
    records: Sequence[SampledStatistics],
    skipped: Sequence[Skipped],
    log: Log,
    budget: int,
    where: str | None,
    seed: int,
) -> Records[SampledStatistics]:
    read, total = sum(r.bytes_read for r in records), sum(entry.bytes for entry in chosen)
    if read < total:
        told = f"estimates from {read:,} of {total:,} bytes: rare values may be in no block"
        log.add("WT-SAMPLED", "checkpoint", told, bytes_read=read, bytes_total=total)
    for name in checkpoint.changed():
        log.add("WT-CHANGED", show_plain(name), "the file changed while it was read")
    return Records(
        command="sample",
        record_type=SampledStatistics,
        source=dataclasses.replace(checkpoint.source(), seed=seed),
        coverage=Coverage(
            tensors_total=len(chosen),
            tensors_measured=len(records),
            parameters_total=sum(entry.parameters for entry in chosen),
            parameters_measured=sum(r.values for r in records),
            bytes_total=total,
            bytes_read=read,
            skipped=tuple(skipped),
        ),
        summary={
            "budget": budget,
            "bytes_read": read,
            "tensors_exact": sum(r.exact for r in records),
            "confidence": CONFIDENCE,
            "method": METHOD,
            "where": where,
        },
        records=tuple(records),
        findings=(*checkpoint.findings, *log.findings),
    )
