"""What a plan and a run of fine-tuning say in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from inspector.results import show_plain


def duration(seconds: float) -> str:
    """A time in its largest fitting unit."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} seconds"


def plan_headlines(summary: Mapping[str, Any], records: Sequence[Any]) -> list[str]:
    """What would move, on how many rows, for how long, and how sure that is."""
    moving, every = summary["moving_parameters"], summary["parameters"]
    tensors = sum(one.moves for one in records)
    lengths = summary["lengths"]
    rows = ", ".join(f"{one['rows']:,} {split}" for split, one in lengths.items())
    lines = [
        f"{summary['strategy']}: {tensors:,} of {len(records):,} tensors move, {moving:,} of "
        f"{every:,} parameters ({moving / every:.1%}). Nothing was trained.",
        f"{summary['task']} on {rows} rows; {summary['steps']:,} updates, about "
        f"{duration(summary['seconds'])} at {summary['seconds_of_update']:.3g} s an update as "
        "measured just now, evaluations and checkpoints aside.",
    ]
    if (always := summary["always_commonest"]) is not None and summary["labels"]:
        label = show_plain(next(iter(summary["labels"])), 40)
        lines.append(
            f"{len(summary['labels']):,} labels; who always says {label!r} is right in "
            f"{always:.1%} of the training rows."
        )
    new = [show_plain(one.name, 60) for one in records if one.new]
    if new:
        lines.append(f"New, drawn by the seed: {', '.join(new[:6])}.")
    if (apart := summary["accumulation_error"]) is not None:
        lines.append(f"Gradients in parts differ from one pass by {apart:.1e} of their size.")
    return lines


def finetune_headlines(summary: Mapping[str, Any], _records: Sequence[Any]) -> list[str]:
    """What was trained, and for how long."""
    moved, every = summary["trained_parameters"], summary["parameters"]
    return [
        f"{summary['strategy']}: {moved:,} of {every:,} parameters ({moved / every:.1%}) trained "
        f"in {summary['steps']:,} updates, {duration(summary['seconds'])}."
    ]
