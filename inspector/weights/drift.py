"""How far a model moved from another: by layer and role, and what kind of change that is."""

import dataclasses
import math
import statistics
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from inspector.results import show_plain
from inspector.weights.change import Change
from inspector.weights.tensor_change import STATUSES, TensorChange

CLASSES = {  # those of weightscope, and five that it has no word for
    "identical": "The two models hold the same values.",
    "rounding_only": "The two models differ by rounding alone: one was saved in a narrower dtype.",
    "extended": "What both models have holds the same values; tensors or rows outside the blocks "
    "were added or removed.",
    "rearranged": "Every changed tensor holds the values of the base in another order, multiplied "
    "or with other signs: nothing was trained.",
    "architecture_change": "Blocks, or tensors inside them, were added, removed or reshaped.",
    "requantised": "The models differ where one of them is quantised, or both differently, by no "
    "more than that could explain; a small training would look the same.",
    "lora_like": "It looks as if low-rank updates were merged into the base.",
    "targeted": "Part of the model changed; the rest did not, or by rounding alone.",
    "continued_pretraining": "Most of the model changed and is still recognisable: it was trained "
    "on from the base, or both come from one ancestor.",
    "full_retrain": "The two models share their shapes, not their values.",
}
SIZES = (  # mean relative change of the weight matrices, below which the word holds (modeldelta)
    (0.015, "surgical"),
    (0.05, "standard"),
    (0.12, "heavy"),
    (float("inf"), "extreme"),
)
LOW_RANK_SHARE = 0.9  # of changed matrices must be low-rank for the model to look so
MOST = 20  # tensors listed by how far they moved
REARRANGED = (  # patterns of a tensor in which every value is one of the base, or a multiple of it
    "scale only",
    "sign flip",
    "some signs flipped",
    "only the signs of zeros",
    "rows in another order",
    "columns in another order",
    "values in another order",
    "transposed",
    "copy",
)
REQUANTISED = 0.25  # relative change, a little more than 3 bits make; more has other reasons
PART = 0.5  # of the parameters; fewer lie in changed tensors: targeted
UNRELATED = 0.3  # median cosine of changed matrices, below which they have little in common


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drift:
    """How far the tensors of one layer, role or kind moved; identical ones count with 0.

    Relative changes are of single tensors: their mean, and the largest with its name, which is
    None where nothing moved.
    """

    group: str
    tensors: int
    changed: int
    rounding_only: int
    mean_relative_change: float | None
    largest_relative_change: float | None
    largest: str | None


def drift(
    records: Iterable[TensorChange], group: Callable[[TensorChange], str | None]
) -> list[Drift]:
    """Drift of every group, in the order in which they first appear; None belongs to no group."""
    groups: dict[str, list[TensorChange]] = {}
    for record in records:
        if (name := group(record)) is not None:
            groups.setdefault(name, []).append(record)
    return [_drift(name, members) for name, members in groups.items()]


def _drift(name: str, members: Sequence[TensorChange]) -> Drift:
    known = [(r.relative_change, r.name) for r in members if r.relative_change is not None]
    most, where = max(known, default=(None, None))
    return Drift(
        group=name,
        tensors=len(members),
        changed=sum(r.status != "identical" for r in members),
        rounding_only=sum(r.rounding_only for r in members),
        mean_relative_change=statistics.fmean(v for v, _ in known) if known else None,
        largest_relative_change=most,
        largest=show_plain(where) if where is not None and most else None,
    )


def by_layer(record: TensorChange) -> str:
    """The block a tensor belongs to; what stands outside all blocks is a group of its own."""
    stack = f"{record.stack} " if record.stack else ""
    return "outside the layers" if record.layer is None else f"{stack}layer {record.layer}"


def by_role(record: TensorChange) -> str:
    """Role and kind: a bias is not its matrix."""
    return record.role if record.kind in ("weight", record.role) else f"{record.role} {record.kind}"


def classify(records: Sequence[TensorChange], repacked: Collection[str] = ()) -> str:
    """The key of CLASSES that fits best; `repacked` tensors are quantised in another way now."""
    compared = _compared(records)
    moved = [r for r in compared if r.changed_fraction != 0 and r.parameters]
    resized = [r for r in records if _is_resized(r)]
    if any(r.layer is not None for r in resized) or (resized and not compared):
        return "architecture_change"
    if not moved:
        return "extended" if resized else "identical"
    trained = [r for r in moved if not r.rounding_only]
    if not trained:
        return "rounding_only"
    if all(r.pattern in REARRANGED for r in trained):
        return "rearranged"
    if all(r.name in repacked and _is_requantised(r) for r in trained):
        return "requantised"
    matrices = moved_matrices(trained)
    low = [r for r in matrices if r.pattern == "low-rank update"]
    quiet = [r for r in matrices if not r.delta_rank_estimate]
    if low and len(low) >= LOW_RANK_SHARE * (len(matrices) - len(quiet)):
        return "lora_like"
    total = sum(r.parameters for r in compared)
    if sum(r.parameters for r in trained) < PART * total:
        return "targeted"
    among = [r for r in trained if r.kind in ("weight", "embedding")]
    cosines = [r.cosine for r in among if r.cosine is not None]
    if cosines and statistics.median(cosines) < UNRELATED:
        return "full_retrain"
    return "continued_pretraining"


def _is_requantised(record: TensorChange) -> bool:
    """Whether values are still as much the same as quantisation leaves them."""
    change = record.relative_change
    return change is not None and change <= REQUANTISED and not record.not_finite


def _compared(records: Iterable[TensorChange]) -> list[TensorChange]:
    return [r for r in records if r.status not in ("added", "removed")]


def _is_resized(record: TensorChange) -> bool:
    """Whether values came or went: the tensor is only in one model, or larger in one."""
    if record.base_shape is None or record.tuned_shape is None:
        return True
    return math.prod(record.base_shape) != math.prod(record.tuned_shape)


def moved_matrices(records: Sequence[TensorChange]) -> list[TensorChange]:
    """Matrices whose values changed by more than rounding."""
    return [
        r
        for r in records
        if r.delta_rank_estimate is not None and r.changed_fraction and not r.rounding_only
    ]


def size_of_change(records: Sequence[TensorChange]) -> dict[str, Any] | None:
    """Mean relative change of the weight matrices and the word modeldelta has for that size."""
    changes = [
        r.relative_change
        for r in records
        if r.kind in ("weight", "embedding") and r.relative_change is not None
    ]
    if not changes:
        return None
    mean = statistics.fmean(changes)
    return {
        "mean_relative_change": mean,
        "word": next(word for limit, word in SIZES if mean < limit),
        "preset": "modeldelta: below .015 surgical, .05 standard, .12 heavy, else extreme",
    }


def verdict(
    kind: str, records: Sequence[TensorChange], statuses: Mapping[str, int], skipped: int
) -> str:
    """What kind of change this is, in a sentence or two with its numbers."""
    parts = [_opening(kind, records, skipped)]
    low = [r for r in records if r.pattern == "low-rank update"]
    if low:
        ranks = sorted(r.delta_rank_estimate or 0 for r in low)
        between = f"rank {ranks[0]}" if ranks[0] == ranks[-1] else f"ranks {ranks[0]}-{ranks[-1]}"
        parts.append(f"Matrices that look like merged updates of {between}: {len(low)}.")
    quiet = sum(not r.delta_rank_estimate for r in moved_matrices(records))
    if quiet:
        parts.append(f"Changed matrices that show nothing beyond the rounding floor: {quiet}.")
    rounded = [r.ulp_max for r in records if r.rounding_only]
    if (exact := rounded.count(0)) and kind != "rounding_only":
        parts.append(f"Tensors that differ by rounding alone: {exact}.")
    if (near := len(rounded) - rounded.count(0)) and kind != "rounding_only":
        parts.append(
            f"Tensors that differ by one step at most, which rounding could explain: {near}."
        )
    if kind not in ("architecture_change", "extended") and any(map(_is_resized, records)):
        parts.append("Tensors or rows outside the blocks were added or removed.")
    size = size_of_change(_compared(records))
    if size and size["mean_relative_change"] and kind not in ("rounding_only", "rearranged"):
        mean = size["mean_relative_change"]
        parts.append(f"Over all matrices the mean change is {mean:.2g} of their norm.")
    if copies := sum(r.pattern == "copy" for r in records):
        parts.append(f"Tensors that repeat others of the base: {copies}.")
    if broken := sum(r.not_finite > 0 and r.status != "identical" for r in records):
        parts.append(f"Tensors with values that are not finite (see the findings): {broken}.")
    if skipped:
        parts.append(f"Tensors that could not be compared: {skipped}.")
    counts = ", ".join(f"{count} {status}" for status, count in statuses.items() if count)
    return f"{' '.join(parts)} ({counts or 'no tensors'})"


def _opening(kind: str, records: Sequence[TensorChange], skipped: int) -> str:
    """The sentence on the class, no stronger than what was seen."""
    if not records and not skipped:
        return "There is nothing to compare: no tensor was chosen, or there is none."
    if not _compared(records):
        return "The two models have no tensor in common that could be compared."
    if kind == "identical" and skipped:
        return "What could be compared holds the same values."
    if kind == "rounding_only" and any(r.ulp_max for r in records):
        return (
            "No value differs by more than one step of its dtype: two roundings of the same "
            "numbers, or a change too small to tell from that."
        )
    return CLASSES[kind]


def summary(
    records: Sequence[TensorChange],
    changes: Sequence[Change],
    skipped: int = 0,
    helpers: Collection[str] = (),
) -> dict[str, Any]:
    """What holds for the whole: verdict, class, counts, drift by layer and role, ULP counts.

    `skipped` tensors could not be compared; `helpers` are only there to read others with, and have
    no say in class and verdict.
    """
    counts = Counter(record.status for record in records)
    statuses = {status: counts[status] for status in STATUSES}
    telling = [r for r in records if r.kind != "buffer" and r.name not in helpers]
    repacked = {c.pair.tuned.name for c in changes if c.pair.helpers is None}
    kind = classify(telling, repacked)
    compared = _compared(records)
    moved = sorted(
        (r for r in compared if r.relative_change),
        key=lambda r: r.relative_change or 0.0,
        reverse=True,
    )
    return {
        "verdict": verdict(kind, telling, statuses, skipped),
        "class": kind,
        "classes": CLASSES,
        "size": size_of_change(compared),
        "statuses": statuses,
        "rounding_only": sum(r.rounding_only for r in records),
        "layers": drift(compared, by_layer),
        "roles": drift(compared, by_role),
        "largest": [
            {"name": show_plain(r.name), "relative_change": r.relative_change} for r in moved[:MOST]
        ],
        "ulps": _ulps(changes),
        "pieces": list(_pieces(changes)),
    }


def _ulps(changes: Sequence[Change]) -> dict[str, dict[str, int]]:
    """By format: how many values lie so many of its steps apart, over all tensors that differ."""
    found: dict[str, Counter[str]] = {}
    for change in changes:
        if change.difference is not None and not change.pair.is_packed:
            found.setdefault(change.difference.unit, Counter()).update(change.difference.ulps)
    return {
        unit: dict(sorted(counts.items(), key=lambda item: int(item[0].split("-")[0])))
        for unit, counts in found.items()
    }


def _pieces(changes: Sequence[Change]) -> Iterator[dict[str, Any]]:
    """The spectra of the pieces of fused and stacked tensors."""
    for change in changes:
        for label, one in change.spectra:
            if label:
                yield {
                    "name": show_plain(change.pair.tuned.name + label),
                    "delta_stable_rank": one.stable_rank,
                    "delta_rank_estimate": one.rank,
                    "delta_rank_energy": one.energy,
                    "delta_rank_99": one.rank_99,
                }
