"""Outputs, inputs, units and heads that do nothing, repeat another or stand far out."""

import dataclasses
from collections.abc import Mapping, Sequence

from inspector.engine import Progress, no_progress, ordered_map
from inspector.results import Records, Skipped, show_plain
from inspector.weights import copies, directions, heads, neuron_findings, twins, units
from inspector.weights.attention import Attended, attend
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.copies import Copy
from inspector.weights.extremes import SUPER, is_candidate
from inspector.weights.matrices import ahead, coverage, matrices, one_blas_thread
from inspector.weights.neuron_records import Measure, Measured, Neurons, parallel
from inspector.weights.packed import findings_on
from inspector.weights.partners import Group
from inspector.weights.problems import Log
from inspector.weights.units import Mlp

MOST_PAIRS = 200  # of rows or columns alike, listed in the summary
MOST_EXTREMES = 50
LIMITS = {  # what all is judged by; see the modules for what each means
    "dead_below": directions.DEAD,
    "parallel_cosine": 1 - directions.SAME,
    "parallel_same_length": directions.SAME_LENGTH,
    "saturated_beyond": units.SATURATED,
    "super_weight_beyond": SUPER,
    "copy_cosine": twins.COPY,
}


def neurons(
    checkpoint: Checkpoint,
    where: str | None = None,
    progress: Progress = no_progress,
    workers: int | None = None,
) -> Records[Neurons]:
    """Dead, repeated, saturated and extreme parts of every matrix, unit and head.

    Records are per matrix; `summary` has `units` (per MLP and expert, see Mlp), `heads` (see Head),
    `composition` (see Composition), `copies` of heads, experts and layers (see Copy), `parallel`
    (which outputs and inputs repeat which), `extremes`, `super_weights` (candidates), what heads
    were left out, and the `limits` all was judged by.
    """
    found, left_out = matrices(checkpoint, where)
    made = units.mlps(found)
    attentions, blind = heads.attentions(found)
    counter = _Counter(progress, len(found) + len(attentions))
    with checkpoint.reader(ahead(found)) as reader, one_blas_thread():
        measured, failed = [], []
        measure = Measure(checkpoint, reader, units.activated(found, made))
        for matrix, one in zip(found, ordered_map(measure, found, workers), strict=True):
            counter.count(matrix.name)
            if isinstance(one, Skipped):
                failed.append(one)
            else:
                measured.append(one)
        attended = attend(checkpoint, reader, attentions, counter.count, workers)
        copied = copies.of_matrices([(m.matrix, m.sketch) for m in measured], reader)
        copied += copies.of_heads(checkpoint, reader, attended.sketched)
    known = {one.matrix.name: one for one in measured}
    activation = units.activation_of(checkpoint)
    judged = _Judged(
        measured=measured,
        left_out=left_out,
        failed=failed,
        mlps=[mlp for group in made if (mlp := _mlp(group, known, activation))],
        attended=attended,
        blind=(*blind, *attended.skipped),
        copied=copied,
    )
    return _result(checkpoint, where, judged)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Judged:
    """All that was found, before it is put into words."""

    measured: Sequence[Measured]
    left_out: Sequence[Skipped]
    failed: Sequence[Skipped]
    mlps: Sequence[Mlp]
    attended: Attended
    blind: Sequence[Skipped]
    copied: Sequence[Copy]


class _Counter:
    """Tells how many of the matrices and attentions are done."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def count(self, name: str) -> None:
        self._done += 1
        self._progress(self._done, self._total, show_plain(name, 60))


def _mlp(group: Group, known: Mapping[str, Measured], activation: str | None) -> Mlp | None:
    """The record of an MLP all of whose matrices could be measured."""
    if any(matrix.name not in known for matrix in group.values()):
        return None
    axes = {role: known[matrix.name].axes for role, matrix in group.items()}
    return units.measure_mlp(group, axes, activation)


def _result(checkpoint: Checkpoint, where: str | None, judged: _Judged) -> Records[Neurons]:
    far = [one for m in judged.measured for one in m.extremes]
    candidates = sorted(filter(is_candidate, far), key=lambda one: -one.score)
    pairs = [pair for m in judged.measured for pair in parallel(m)]
    log = Log()
    neuron_findings.tell_matrices(log, judged.measured)
    neuron_findings.tell_units(log, judged.mlps)
    neuron_findings.tell_heads(log, judged.attended.heads, judged.blind)
    neuron_findings.tell_copies(log, judged.copied)
    neuron_findings.tell_super_weights(log, candidates)
    for one in judged.failed:
        log.add("NU-SKIPPED", one.name, f"not judged: {one.reason}")
    return Records(
        command="neurons",
        record_type=Neurons,
        source=checkpoint.source(),
        coverage=coverage(
            checkpoint, [m.matrix for m in judged.measured], [*judged.left_out, *judged.failed]
        ),
        summary={
            "units": tuple(judged.mlps),
            "heads": judged.attended.heads,
            "heads_skipped": tuple(judged.blind),
            "composition": judged.attended.composition,
            "composition_note": judged.attended.note,
            "copies": tuple(judged.copied),
            "parallel": tuple(pairs[:MOST_PAIRS]),
            "parallel_total": len(pairs),
            "extremes": tuple(sorted(far, key=lambda one: -abs(one.z))[:MOST_EXTREMES]),
            "super_weights": tuple(candidates[:MOST_EXTREMES]),
            "limits": LIMITS,
            "where": where,
        },
        records=tuple(m.record for m in judged.measured),
        findings=(*findings_on(checkpoint), *log.findings),
    )
