"""The record of one tensor of a comparison: what became of it, in numbers and in a sentence."""

import dataclasses
import math

from inspector.results import show_plain
from inspector.weights.architecture import Placement
from inspector.weights.change import Change
from inspector.weights.delta_rank import FEW, DeltaSpectrum
from inspector.weights.header import TensorEntry

STATUSES = ("identical", "changed", "retyped", "reshaped", "renamed", "added", "removed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorChange:
    """What became of one tensor. Comparing fields are None where there is nothing to compare.

    `rounding_only`: the values differ, each by no more than one step of `ulp_dtype`, which is the
    coarser of the two formats they were kept in. `relative_change` is the norm of the difference
    over that of the base, `relative_change_noise` what rounding to `ulp_dtype` alone would give,
    `bias_shift` the mean of the difference, `changed_fraction` in [0, 1] counts values that became
    NaN or infinite, or were and are not, which all others leave out. `delta_rank_estimate`
    counts singular values of the difference beyond what rounding can reach, `delta_rank_energy`
    is their share of its squared norm, `delta_rank_99` how many carry 99 % of it; of a fused or
    stacked tensor they are those of the piece of highest rank. `pattern` is one of: scale only,
    sign flip, low-rank update, rows (columns, values) in another order, transposed, copy, ...
    """

    name: str
    layer: int | None
    role: str
    status: str
    rounding_only: bool
    relative_change: float | None = None
    cosine: float | None = None
    max_abs_change: float | None = None
    ulp_median: float | None = None
    changed_fraction: float | None = None
    delta_stable_rank: float | None = None
    delta_rank_estimate: int | None = None
    kind: str
    stack: str | None
    renamed_from: str | None = None
    base_dtype: str | None = None
    tuned_dtype: str | None = None
    base_shape: tuple[int, ...] | None = None
    tuned_shape: tuple[int, ...] | None = None
    parameters: int
    ulp_dtype: str | None = None
    ulp_max: float | None = None
    relative_change_noise: float | None = None
    bias_shift: float | None = None
    rows_changed: int | None = None
    delta_rank_energy: float | None = None
    delta_rank_99: int | None = None
    not_finite: int = 0
    pattern: str | None = None
    note: str


def alone(entry: TensorEntry, placement: Placement, status: str) -> TensorChange:
    """The record of a tensor that only one of the checkpoints has."""
    is_base = status == "removed"
    note = f"Only the {'base' if is_base else 'tuned model'} has it."
    if placement.alias_of is not None:
        note += f" It repeats {show_plain(placement.alias_of)}, with which it is tied."
    return TensorChange(
        name=entry.name,
        layer=placement.layer,
        role=placement.role,
        status=status,
        rounding_only=False,
        kind=placement.kind,
        stack=placement.stack,
        base_dtype=entry.dtype if is_base else None,
        tuned_dtype=None if is_base else entry.dtype,
        base_shape=entry.shape if is_base else None,
        tuned_shape=None if is_base else entry.shape,
        parameters=entry.parameters,
        note=note,
    )


def record(change: Change, placement: Placement) -> TensorChange:
    """The record of a tensor that both checkpoints have."""
    base, tuned = change.pair.base, change.pair.tuned
    old_name, new_name = change.pair.names
    d = change.difference
    top = largest(change)
    plain = TensorChange(
        name=tuned.name,
        layer=placement.layer,
        role=placement.role,
        status=status(change),
        rounding_only=d is not None and d.rounding_only,
        kind=placement.kind,
        stack=placement.stack,
        renamed_from=base.name if old_name != new_name else None,
        base_dtype=base.dtype,
        tuned_dtype=tuned.dtype,
        base_shape=change.pair.shapes[0],
        tuned_shape=change.pair.shapes[1],
        parameters=math.prod(change.pair.shapes[1]),
        pattern=pattern(change),
        note=note(change),
    )
    if change.identical:
        return dataclasses.replace(
            plain,
            relative_change=0.0,
            cosine=1.0,
            max_abs_change=0.0,
            ulp_median=0.0,
            ulp_max=0.0,
            changed_fraction=0.0,
        )
    if d is None:
        return plain
    not_finite = d.base_not_finite + d.tuned_not_finite
    plain = dataclasses.replace(plain, changed_fraction=d.changed_fraction, not_finite=not_finite)
    if not d.n:
        return plain
    packed = change.pair.is_packed
    return dataclasses.replace(
        plain,
        relative_change=d.relative_change,
        cosine=d.cosine,
        max_abs_change=d.largest,
        ulp_median=None if packed else d.ulp_median,
        delta_stable_rank=top.stable_rank if top else None,
        delta_rank_estimate=rank(change),
        ulp_dtype=None if packed else d.unit,
        ulp_max=None if packed else d.ulp_max,
        relative_change_noise=None if packed else d.relative_change_noise,
        bias_shift=d.mean,
        rows_changed=change.rows_changed,
        delta_rank_energy=top.energy if top else None,
        delta_rank_99=top.rank_99 if top else None,
    )


def status(change: Change) -> str:
    """One of STATUSES; the first that holds of: renamed, reshaped, retyped, identical, changed."""
    base, tuned = change.pair.base, change.pair.tuned
    if len(set(change.pair.names)) > 1:
        return "renamed"
    if len(set(change.pair.shapes)) > 1:
        return "reshaped"
    if base.dtype != tuned.dtype:
        return "retyped"
    return "identical" if change.identical else "changed"


def largest(change: Change) -> DeltaSpectrum | None:
    """The spectrum of highest rank among the pieces of a tensor."""
    return max((spectrum for _, spectrum in change.spectra), key=lambda s: s.rank, default=None)


def rank(change: Change) -> int | None:
    """The rank estimate; 0 where rounding explains all of a matrix, None for what is none."""
    if (top := largest(change)) is not None:
        return top.rank
    rounded = change.difference is not None and change.difference.rounding_only
    return 0 if rounded and change.rows_changed is not None else None


def pattern(change: Change) -> str | None:
    """What the whole change amounts to, in a few words; None where no such words fit."""
    if change.pattern is not None:
        return change.pattern
    low = [one.low_rank for _, one in change.spectra if one.stable_rank is not None]
    top, rows = largest(change), change.rows_changed
    few_rows = top is not None and rows is not None and top.rank > FEW * rows
    return "low-rank update" if low and all(low) and not few_rows else None


def note(change: Change) -> str:
    """What became of the tensor, in plain sentences."""
    base, tuned = change.pair.base, change.pair.tuned
    parts = []
    old_name, new_name = change.pair.names
    shape, new_shape = change.pair.shapes
    if old_name != new_name:
        parts.append(f"It was called {show_plain(base.name)}.")
    if base.dtype != tuned.dtype:
        parts.append(f"{base.dtype} became {tuned.dtype}.")
    for which, codes in (("base", change.pair.base_codes), ("tuned", change.pair.tuned_codes)):
        if codes is not None:
            parts.append(f"The {which} tensor is quantised ({codes.scheme}).")
    if shape != new_shape:
        parts.append(f"Shape {list(shape)} became {list(new_shape)}.")
    if change.compared:
        parts.append(f"Compared: {change.compared}.")
    return " ".join([*parts, *_about_values(change)])


def _about_values(change: Change) -> list[str]:
    d = change.difference
    if change.identical:
        return ["The bytes are the same."]
    found = []
    if change.pattern == "scale only":
        found.append(f"All values were multiplied by {change.factor:.6g}.")
    elif change.pattern is not None:
        found.append(f"{change.pattern[0].upper()}{change.pattern[1:]}.")
    if d is None:
        return found
    if d.base_not_finite or d.tuned_not_finite:
        found.append(
            f"{d.base_not_finite:,} values of the base and {d.tuned_not_finite:,} of the tuned "
            "tensor are not finite and are left out."
        )
    if not d.changed:
        others = "All other" if d.lost else "The"
        return [*found, f"{others} values are the same."] if d.n else found
    if not d.base_norm:
        found.append("The base is zero throughout, so no change relative to it exists.")
    if change.pair.is_packed and d.relative_change:
        ratio = -20 * math.log10(d.relative_change)
        told = (
            f"lies {ratio:.1f} dB below the base"
            if ratio > 0
            else f"is {d.relative_change:.3g} times as large as the base"
        )
        return [*found, f"Read through the scales, the difference {told}."]
    if d.rounding_only:
        told = (
            f"No value is more than one step of {d.unit} from the other: two roundings of the same "
            "numbers, or a change too small to tell from that"
            if d.ulp_max
            else f"Rounding alone: each value is the other's, rounded to the nearest {d.unit}"
        )
        return [*found, f"{told} ({d.changed / d.n:.1%} differ)."]
    return [*found, *_about_rank(change)]


def _about_rank(change: Change) -> list[str]:
    d, top = change.difference, largest(change)
    assert d is not None
    found = [f"{d.changed / d.n:.1%} of the values changed."]
    if change.no_spectrum:
        return [*found, f"No spectrum of the difference: {change.no_spectrum}"]
    if top is None or change.pattern is not None:
        return found
    which = "" if len(change.spectra) == 1 else f" (the highest of {len(change.spectra)} pieces)"
    if not top.rank:
        found.append(
            f"Below the {d.unit} rounding floor{which}: no direction of the difference stands out "
            "from what rounding gives."
        )
    elif pattern(change):
        rest = "; what is left is no more than rounding" if top.explained else ""
        found.append(
            f"This looks like a merged rank-{top.rank} update{which}: what stands out beyond "
            f"rounding holds {top.energy:.1%} of the difference{rest}."
        )
    elif top.explained and top.few:
        found.append(
            f"What stands out of the difference beyond rounding is of rank {top.rank}{which} and "
            f"holds {top.energy:.1%} of it; the rest is no more than rounding gives: a merged "
            "update of low rank, or training of which the rest is lost in rounding."
        )
    else:
        found.append(
            f"Beyond rounding the difference is of rank {top.rank}{which}, of "
            f"{min(top.rows, top.columns)} possible; 99 % of it is of rank {top.rank_99}."
        )
    rows = change.rows_changed
    if rows is not None and 2 * rows <= change.pair.base.shape[0]:
        found.append(f"Only {rows:,} of {change.pair.base.shape[0]:,} rows changed.")
    return found
