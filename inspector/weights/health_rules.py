"""The rules of health as a table: what each looks at, its threshold, where that comes from."""

import dataclasses
import math
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from inspector.results import Finding, Records, show_plain
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.config_check import disagreements
from inspector.weights.formats import FORMATS
from inspector.weights.neuron_records import Neurons
from inspector.weights.packed import find_packed, packed_findings
from inspector.weights.scan import Scan
from inspector.weights.spectrum import MatrixSpectrum
from inspector.weights.statistics import TensorStatistics
from inspector.weights.verdicts import Initialization

HALF_MAX = 65504.0  # largest finite F16
FEWEST_PEERS = 4
DIGITS = re.compile(r"[0-9]+")
SMOOTH = ("position", "token_type")  # neighbours are alike, sinusoids of few directions
LARGE = 10_000  # values from which a shape statistic is steady


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Facts:
    """What the rules look at."""

    checkpoint: Checkpoint
    scan: Scan
    spectra: Records[MatrixSpectrum]
    initialization: Records[Initialization]
    neurons: Records[Neurons]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hit:
    """One place where a rule does not hold."""

    where: str
    statement: str
    evidence: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """One check: `checks` says what holds when it passes, `source` where the threshold is from.

    `find` is given the facts and the threshold and yields a Hit for each place that fails.
    """

    id: str
    checks: str
    threshold: float | None
    source: str
    find: Callable[[Facts, float], Iterable[Hit]]


def _matrices(facts: Facts) -> Iterator[TensorStatistics]:
    return (r for r in facts.scan if r.kind in ("weight", "embedding"))


def _of_ids(
    judged: Callable[[Facts], Iterable[Finding]], *prefixes: str
) -> Callable[[Facts, float], Iterator[Hit]]:
    """A rule that holds when none of the findings has such an id."""

    def find(facts: Facts, _threshold: float) -> Iterator[Hit]:
        for one in judged(facts):
            if one.id.startswith(prefixes):
                yield Hit(
                    where=one.where,
                    statement=one.statement,
                    evidence={"finding": one.id, **one.evidence},
                )

    return find


def _file(facts: Facts, _threshold: float) -> Iterator[Hit]:
    for one in facts.checkpoint.findings:
        if one.severity == "error":
            yield Hit(where=one.where, statement=one.statement, evidence={"finding": one.id})


def _unread(facts: Facts, _threshold: float) -> Iterator[Hit]:
    for one in facts.scan.coverage.skipped:
        yield Hit(where=one.name, statement=f"not measured: {one.reason}")


def _dead(facts: Facts, threshold: float) -> Iterator[Hit]:
    for r in _matrices(facts):
        if r.parameters and r.zeros / r.parameters >= threshold:
            share = r.zeros / r.parameters
            yield Hit(
                where=show_plain(r.name),
                statement=f"{share:.2%} of its values are zero",
                evidence={"zeros": r.zeros, "parameters": r.parameters},
            )


def _rows(facts: Facts, _threshold: float) -> Iterator[Hit]:
    hits = _init("WT-PADDED")(facts, 0.0)  # the config's own row is meant to be zero
    yield from (hit for hit in hits if not hit.evidence.get("padding_row"))


def _scale(facts: Facts, threshold: float) -> Iterator[Hit]:
    peers: dict[str, list[TensorStatistics]] = defaultdict(list)
    for r in facts.scan:
        if r.kind == "weight" and r.layer is not None and r.rms:
            peers[DIGITS.sub("#", r.name)].append(r)  # not by role: a block may have several
    for group in peers.values():
        if len(group) <= FEWEST_PEERS:
            continue
        median = statistics.median(r.rms or 0.0 for r in group)
        for r in group:
            ratio = (r.rms or 0.0) / median
            if not 1 / threshold < ratio < threshold:
                way = "above" if ratio > 1 else "below"
                yield Hit(
                    where=show_plain(r.name),
                    statement=f"rms {r.rms:.3g} is {max(ratio, 1 / ratio):.1f} times {way} the "
                    f"median {median:.3g} of {len(group)} matrices of that name (role {r.role})",
                    evidence={"rms": r.rms, "median": median, "ratio": ratio},
                )


def _kurtosis(facts: Facts, threshold: float) -> Iterator[Hit]:
    for r in _matrices(facts):
        if r.kurtosis is not None and r.parameters >= LARGE and r.kurtosis > threshold:
            yield Hit(
                where=show_plain(r.name),
                statement=f"excess kurtosis {r.kurtosis:.0f} (normal values: 0); the largest value "
                f"is {r.abs_max:.3g}, {(r.abs_max or 0.0) / (r.rms or 1.0):.0f} times the rms",
                evidence={"kurtosis": r.kurtosis, "abs_max": r.abs_max, "rms": r.rms},
            )


def _rank(facts: Facts, threshold: float) -> Iterator[Hit]:
    for s in (s for s in facts.spectra if s.role not in SMOOTH):
        side = min(s.rows, s.columns)
        if s.verdict != "too small to tell" and s.rank < threshold * side:
            yield Hit(
                where=show_plain(s.name),
                statement=f"its rank is {s.rank} of {side} (noise: {side})",
                evidence={"rank": s.rank, "side": side},
            )


def _one_direction(facts: Facts, threshold: float) -> Iterator[Hit]:
    for s in facts.spectra:
        if s.stable_rank is None or s.stable_rank_noise is None:
            continue
        share, usual = 1 / s.stable_rank, 1 / s.stable_rank_noise
        if s.role not in SMOOTH and share > threshold:
            yield Hit(
                where=show_plain(s.name),
                statement=f"one direction carries {share:.1%} of its energy (noise: {usual:.1%})",
                evidence={"stable_rank": s.stable_rank, "noise": s.stable_rank_noise},
            )


def _overflow(facts: Facts, threshold: float) -> Iterator[Hit]:
    for r in facts.scan:
        if r.kind == "buffer" or r.abs_max is None or FORMATS[r.dtype].kind != "float":
            continue
        limit = HALF_MAX * threshold if r.dtype == "F16" else HALF_MAX
        if r.abs_max > limit:
            yield Hit(
                where=show_plain(r.name),
                statement=f"its largest value, {r.abs_max:.4g}, is close to or beyond the 65504 "
                "that fp16 can hold",
                evidence={"abs_max": r.abs_max, "dtype": r.dtype},
            )


def _subnormal(facts: Facts, threshold: float) -> Iterator[Hit]:
    for r in _matrices(facts):
        others = r.parameters - r.zeros
        if FORMATS[r.dtype].kind == "float" and others and r.subnormals / others > threshold:
            yield Hit(
                where=show_plain(r.name),
                statement=f"{r.subnormals / others:.2%} of its values lie below the smallest "
                f"normal {r.dtype} and have lost digits",
                evidence={"subnormals": r.subnormals, "not_zero": others},
            )


def _bias(facts: Facts, threshold: float) -> Iterator[Hit]:
    weights = {r.name.removesuffix(".weight"): r for r in facts.scan if r.kind == "weight"}
    placements = facts.checkpoint.architecture.placements
    # a bias of keys adds nearly the same to every score, that of dt_proj is the size of a time step
    for r in (r for r in facts.scan if r.role != "k" and "dt_proj" not in r.name):
        weight = weights.get(r.name.removesuffix(".bias"))
        if r.kind != "bias" or weight is None or not weight.rms or len(weight.shape) != 2:
            continue
        inputs = weight.shape[0 if placements[weight.name].orientation == "in_out" else 1]
        length = weight.rms * math.sqrt(inputs)
        if (r.rms or 0.0) > threshold * length:
            yield Hit(
                where=show_plain(r.name),
                statement=f"its rms is {(r.rms or 0.0) / length:.1f} times the length of a row of "
                "its matrix: inputs of variance 1 hardly move the outputs",
                evidence={"bias_rms": r.rms, "row_length": length},
            )


def _saturated(facts: Facts, threshold: float) -> Iterator[Hit]:
    for n in facts.neurons:
        if n.saturating is not None and n.saturating > threshold * n.rows:
            yield Hit(
                where=show_plain(n.name),
                statement=f"{n.saturating:,} of {n.rows:,} units are always on or always off for "
                "inputs of variance 1",
                evidence={"saturating": n.saturating, "units": n.rows},
            )


def _config(facts: Facts, _threshold: float) -> Iterator[Hit]:
    for where, told, evidence in disagreements(facts.checkpoint):
        yield Hit(where=show_plain(where), statement=told, evidence=evidence)
    for one in (*facts.checkpoint.findings, *facts.checkpoint.architecture.findings):
        if one.id == "AR-ABSENT" or (one.id.startswith("CF-") and one.severity == "warning"):
            yield Hit(where=one.where, statement=one.statement, evidence={"finding": one.id})


def _signal(facts: Facts, _threshold: float) -> Iterator[Hit]:
    for one in facts.initialization.summary["predicted_signal"]:
        for way, verdict, total in (
            ("signal", one.forward_verdict, one.forward_total),
            ("gradient", one.backward_verdict, one.backward_total),
        ):
            if verdict in ("vanishing", "exploding"):
                yield Hit(
                    where=f"{one.stack or 'all'} layers",
                    statement=f"for random inputs the {way}'s variance is predicted to change by "
                    f"{total:.1e} over all layers: {verdict}",
                    evidence={"total": total},
                )


_init = partial(_of_ids, lambda facts: facts.initialization.findings)
_units = partial(_of_ids, lambda facts: facts.neurons.findings)
_scanned = partial(_of_ids, lambda facts: facts.scan.findings)
_packed = partial(_of_ids, lambda facts: packed_findings(find_packed(facts.checkpoint)))

RULES: tuple[Rule, ...] = (
    Rule(
        id="HL-FILE",
        checks="Header, index and files agree and nothing in them is malformed.",
        threshold=None,
        source="safetensors format",
        find=_file,
    ),
    Rule(
        id="HL-UNREAD",
        checks="Every tensor could be read as numbers.",
        threshold=None,
        source="coverage of the scan",
        find=_unread,
    ),
    Rule(
        id="HL-SCALES",
        checks="Quantised tensors have the scales that say what their codes are worth.",
        threshold=None,
        source="layouts of the formats",
        find=_packed("QT-SCALE", "QT-UNREAD"),
    ),
    Rule(
        id="HL-FINITE",
        checks="No value is NaN or infinite.",
        threshold=None,
        source="scan of all values",
        find=_scanned("WT-NAN", "WT-INF"),
    ),
    Rule(
        id="HL-DEAD",
        checks="No matrix is dead: fewer than this share of its values are zero.",
        threshold=0.9999,
        source="preset of weightlens",
        find=_dead,
    ),
    Rule(
        id="HL-UNITS",
        checks="No unit or head is dead: none has weights of zero on its way in or out.",
        threshold=None,
        source="exact zeros, or lengths below 1e-6 of the median",
        find=_units("NU-DEAD"),
    ),
    Rule(
        id="HL-COPIES",
        checks="No unit, head, expert or layer repeats another.",
        threshold=0.999,
        source="|cosine| of rows; of heads, experts and layers see `inspector neurons`",
        find=_units("NU-PARALLEL", "NU-COPY", "NU-CONSTANT", "NU-CROWDED"),
    ),
    Rule(
        id="HL-SYMMETRY",
        checks="No matrix has the identical rows that constant initialisation leaves behind.",
        threshold=None,
        source="exact equality",
        find=_init("WT-SYMMETRY"),
    ),
    Rule(
        id="HL-UNTRAINED",
        checks="No matrix of the trained model is still, or again, a fresh draw.",
        threshold=None,
        source="fit of initialisation schemes and Marchenko-Pastur spectrum",
        find=_init("WT-UNTRAINED", "WT-FRESH"),
    ),
    Rule(
        id="HL-ROWS",
        checks="No row of the vocabulary but the padding row is zero, the mean or a copy.",
        threshold=None,
        source="exact equality",
        find=_rows,
    ),
    Rule(
        id="HL-SCALE",
        checks="No matrix's rms is this factor away from the median of that name in all layers.",
        threshold=math.sqrt(10),
        source="preset of weightlens: 10 times the variance",
        find=_scale,
    ),
    Rule(
        id="HL-KURTOSIS",
        checks="No matrix has an excess kurtosis above this: outliers that round badly.",
        threshold=100.0,
        source="our choice: ten times the 10 at which SWAN's score is full",
        find=_kurtosis,
    ),
    Rule(
        id="HL-SUPERWEIGHT",
        checks="No single weight stands out like the super weights published for known models.",
        threshold=3.0,
        source="super weights: Yu et al. 2024, arXiv 2411.07191",
        find=_units("NU-SUPER-WEIGHT"),
    ),
    Rule(
        id="HL-RANK",
        checks="Every matrix but tables of positions has at least this share of its full rank.",
        threshold=0.9,
        source="our choice; noise has full rank",
        find=_rank,
    ),
    Rule(
        id="HL-DIRECTION",
        checks="No direction carries more than this share of the energy of a matrix.",
        threshold=0.9,
        source="our choice; one over the stable rank, beside that of noise",
        find=_one_direction,
    ),
    Rule(
        id="HL-OVERFLOW",
        checks="All values fit fp16; those of F16 tensors stay below this share of its largest.",
        threshold=0.5,
        source="IEEE 754 binary16",
        find=_overflow,
    ),
    Rule(
        id="HL-SUBNORMAL",
        checks="At most this share of a matrix's values is too small for the dtype's full digits.",
        threshold=0.5,
        source="from there on lost digits are most of the rounding error; N(0, .02) in F16: .0024",
        find=_subnormal,
    ),
    Rule(
        id="HL-BIAS",
        checks="No bias but of keys dwarfs its matrix: rms below this many times a row's length.",
        threshold=4.0,
        source="4 standard deviations of the output for inputs of variance 1",
        find=_bias,
    ),
    Rule(
        id="HL-SATURATED",
        checks="At most this share of a layer's units is always on or always off.",
        threshold=0.05,
        source="|bias| beyond 4 times the length of the row",
        find=_saturated,
    ),
    Rule(
        id="HL-CONFIG",
        checks="config.json and the tensors agree about sizes, blocks and dtype.",
        threshold=None,
        source="header and config",
        find=_config,
    ),
    Rule(
        id="HL-SIGNAL",
        checks="The predicted size of signal and gradient stays within these powers of ten.",
        threshold=1e4,
        source="variance gains of all layers; He et al. 2015",
        find=_signal,
    ),
)
