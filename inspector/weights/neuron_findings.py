"""What a person should know of neurons, units, heads and copies, in words."""

from collections.abc import Sequence

import numpy as np

from inspector.results import Skipped, show_plain
from inspector.weights.copies import Copy
from inspector.weights.directions import Rows
from inspector.weights.extremes import Extreme
from inspector.weights.heads import Head
from inspector.weights.neuron_records import Measured
from inspector.weights.problems import Log
from inspector.weights.units import KEPT, SATURATED, Mlp

TABLES = ("embedding", "position", "token_type", "unembedding")  # their rows are words, no neurons
DEAD_HEAD = 1e-6  # of the median norm of the model's heads
TOLD = 10  # super-weight candidates that get a finding
EXPLAINED = {  # what a unit gives when its input is (below 0, above 0) for nearly every input
    "relu": "exactly 0 below, its input above",
    **dict.fromkeys(("gelu", "silu", "swish", "quick_gelu"), "about 0 below, its input above"),
    **dict.fromkeys(("sigmoid", "tanh"), "a constant on either side"),
}


def tell_matrices(log: Log, measured: Sequence[Measured]) -> None:
    """Dead, constant and parallel outputs and inputs of matrices that are no tables."""
    for one in measured:
        if one.record.role not in TABLES:
            where = show_plain(one.record.name)
            _tell_rows(log, where, "outputs (rows)", one.axes.out)
            _tell_rows(log, where, "inputs (columns)", one.axes.into)


def _tell_rows(log: Log, where: str, word: str, rows: Rows) -> None:
    total = len(rows.lengths)
    dead, constant = np.flatnonzero(rows.dead), np.flatnonzero(rows.constant)
    if len(dead):
        told = f"{len(dead)} of {total} {word} are zero or as good as zero"
        log.add("NU-DEAD", where, told, count=len(dead), first=dead[:KEPT].tolist())
    if len(constant):
        told = f"{len(constant)} of {total} {word} hold one number throughout"
        log.add("NU-CONSTANT", where, told, count=len(constant), first=constant[:KEPT].tolist())
    if rows.crowded:
        told = f"so many of its {total} {word} are nearly parallel that not all could be compared"
        log.add("NU-CROWDED", where, told)
    elif rows.alike:
        relations = [one.relation for one in rows.alike]
        counts = [(relations.count(r), r) for r in ("duplicate", "anti-parallel", "scaled")]
        parts = ", ".join(f"{count} {relation}" for count, relation in counts if count)
        first = [[one.row, one.like, one.relation] for one in rows.alike[:KEPT]]
        told = f"{len(relations)} of {total} {word} point the way of an earlier one: {parts}"
        log.add("NU-PARALLEL", where, told, count=len(relations), first=first)


def tell_units(log: Log, mlps: Sequence[Mlp]) -> None:
    """Dead and saturated hidden units."""
    for mlp in mlps:
        where = show_plain(mlp.name)
        if mlp.dead:
            told = (
                f"{mlp.dead} of {mlp.units} hidden units do nothing: {mlp.dead_in} do not depend "
                f"on the input, {mlp.dead_out} are not read"
            )
            log.add("NU-DEAD-UNIT", where, told, count=mlp.dead, first=list(mlp.dead_at))
        if mlp.always_on or mlp.always_off:
            activation = show_plain(mlp.activation or "activation of unknown name", 40)
            gives = EXPLAINED.get(mlp.activation or "")
            told = (
                f"{mlp.always_on} of {mlp.units} hidden units are always on and {mlp.always_off} "
                f"always off for inputs of unit variance: the bias is over {SATURATED:g} times "
                f"what the weights give; {activation}" + (f" makes of it {gives}" if gives else "")
            )
            log.add("NU-SATURATED", where, told, first=list(mlp.saturated_at))


def tell_heads(log: Log, heads: Sequence[Head], blind: Sequence[Skipped]) -> None:
    """Heads that write nothing, and attentions whose heads could not be judged."""
    norms = [head.ov_norm for head in heads if head.ov_norm]
    for head in heads:
        if head.ov_norm is not None and head.ov_norm <= DEAD_HEAD * np.median(norms or [0.0]):
            told = f"head {head.head} writes nothing: its OV matrix is zero"
            log.add("NU-DEAD-HEAD", show_plain(head.name), told, head=head.head)
    if blind:
        told = f"the heads of {len(blind)} attentions are not judged; first: {blind[0].reason}"
        log.add("NU-HEADS", blind[0].name, told, count=len(blind))


def tell_copies(log: Log, copies: Sequence[Copy]) -> None:
    """Heads, experts, layers and matrices that repeat another."""
    for copy in copies:
        how = "exactly" if copy.exact else f"with cosine {copy.cosine:.4f}"
        one = _thing(copy.what, copy.layer, copy.index)
        like = _thing(copy.what, copy.like_layer, copy.like_index)
        told = f"{one} repeats {like} {how}"
        log.add(
            "NU-COPY", show_plain(copy.name), told, like=show_plain(copy.like_name), what=copy.what
        )


def _thing(what: str, layer: int | None, index: int | None) -> str:
    if what == "layer":
        return f"layer {layer}"
    inside = "" if layer is None else f" of layer {layer}"
    kind, _, which = what.partition(" ")
    named = kind if index is None else f"{kind if kind != 'matrix' else 'expert'} {index}"
    return f"{which.upper()} of {named}{inside}" if which else f"{named}{inside}"


def tell_super_weights(log: Log, candidates: Sequence[Extreme]) -> None:
    """The first candidates for super weights, and every published one."""
    for place, one in enumerate(candidates):
        if place >= TOLD and not one.published:
            continue
        told = f"weight [{one.row}, {one.column}] is {one.value:.4g}, {abs(one.z):.1f} standard "
        told += f"deviations from the mean; chance reaches {one.z_noise:.1f}"
        if one.published:
            told += f". In {', '.join(one.published)} it is a published super weight"
        log.add(
            "NU-SUPER-WEIGHT",
            show_plain(one.name),
            told,
            row=one.row,
            column=one.column,
            z=one.z,
            score=one.score,
            published=list(one.published),
        )
