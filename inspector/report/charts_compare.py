"""Comparisons as figures: where a model moved, and by how many steps of its numbers."""

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from inspector.report.charts import KIND_COLOURS, Chart
from inspector.weights.drift import by_role
from inspector.weights.makeup import OUTSIDE, block_label
from inspector.weights.tensor_change import TensorChange

MARKS = {  # what became of a cell's tensors -> what stands in the cell
    "unchanged": "=",
    "rounding only": "≈",
    "added": "+",
    "removed": "−",  # noqa: RUF001  the sign, as wide as the plus
    "not compared": "?",
}
ALL_ROLES = "all roles"
PICK = "cell"  # the selection: a click on a cell of the strip
MOST_NUMBERED = 14  # layers; with more the numbers do not fit into the cells
FEWEST_BINS = 5  # a single bar would look like a wall
LARGE_SPREAD = 20.0  # largest change over the smallest, from which colours go by the logarithm


def layer_of(record: TensorChange) -> str:
    """The block a tensor stands in, as everywhere in the app."""
    return block_label(record.stack, record.layer)


def cells(records: Sequence[TensorChange]) -> pd.DataFrame:
    """One row per layer and role, and per layer: what became of it, and how far it moved.

    Columns layer, role, state (changed, or one of MARKS), relative_change and rounding (means over
    tensors that could be compared; identical ones count with 0), tensors.
    """
    rows = [
        [
            layer_of(r),
            by_role(r),
            _state(r),
            r.relative_change,
            r.relative_change_noise,
            (r.layer is not None, r.stack or "", r.layer or 0),
            r.kind not in ("weight", "embedding"),
        ]
        for r in records
        if r.kind != "buffer"
    ]
    table = pd.DataFrame(
        rows,
        columns=["layer", "role", "state", "relative_change", "rounding", "depth", "last"],
    ).astype({"relative_change": float, "rounding": float})
    table = table.sort_values(["depth", "last"], kind="stable")
    both = pd.concat([table.assign(role=ALL_ROLES), table])
    grouped = both.groupby(["layer", "role"], sort=False)
    found = grouped.agg(
        state=("state", _together),
        relative_change=("relative_change", "mean"),
        rounding=("rounding", "mean"),
        tensors=("state", "size"),
    )
    return found.reset_index()


def _state(record: TensorChange) -> str:
    if record.status in ("added", "removed"):
        return record.status
    if record.relative_change is None and record.changed_fraction is None:
        return "not compared"
    if not record.changed_fraction:
        return "unchanged"
    return "rounding only" if record.rounding_only else "changed"


def _together(states: "pd.Series[str]") -> str:
    """What a group is called: changed if anything changed, else what most of it is."""
    if (states == "changed").any():
        return "changed"
    return str(states.value_counts().idxmax())


def strip(records: Sequence[TensorChange]) -> Chart:
    """How far every layer and role moved, as a map whose cells can be picked."""
    table = cells(records)
    layers = list(dict.fromkeys(table["layer"]))
    roles = list(dict.fromkeys(table["role"]))
    moved = table.loc[table["state"] == "changed", "relative_change"]
    moved = moved[moved > 0]
    low, high = (float(moved.min()), float(moved.max())) if len(moved) else (0.01, 1.0)
    spread = high > LARGE_SPREAD * low
    middle = (low * high) ** 0.5 if spread else (low + high) / 2
    numbered = len(layers) <= MOST_NUMBERED
    told = table["relative_change"].map(lambda value: f"{value:.2g}" if numbered else "")
    shown = table.assign(text=told.where(table["state"] == "changed", table["state"].map(MARKS)))
    pick = alt.selection_point(name=PICK, fields=["layer", "role"], toggle=False)
    base = alt.Chart(shown).encode(
        x=alt.X(
            "layer:N",
            sort=layers,
            title="layer",
            axis=alt.Axis(labelAngle=0, labelOverlap=True, labelFlush=False),
        ),
        y=alt.Y(
            "role:N", sort=roles, title=None, axis=alt.Axis(labelLimit=200, labelOverlap=False)
        ),
        tooltip=[
            "layer:N",
            "role:N",
            "state:N",
            alt.Tooltip("relative_change:Q", format=".3g", title="relative change"),
            alt.Tooltip("rounding:Q", format=".2g", title="rounding alone"),
            "tensors:Q",
        ],
    )
    is_changed = alt.datum.state == "changed"
    scale = alt.Scale(type="log" if spread else "linear", domain=[low, high], scheme="cividis")
    rectangles = base.mark_rect(cornerRadius=2, strokeWidth=2).encode(
        color=alt.when(is_changed)
        .then(
            alt.Color(
                "relative_change:Q",
                scale=scale,
                title="relative change",
                legend=alt.Legend(format=".2g", tickCount=4) if len(moved) else None,
            )
        )
        .otherwise(alt.value("#88888833")),
        stroke=alt.when(pick, empty=False).then(alt.value("#D55E00")).otherwise(alt.value(None)),
    )
    dark = is_changed & (alt.datum.relative_change < middle)
    letters = base.mark_text(fontSize=12).encode(
        text="text:N",
        color=alt.when(dark)
        .then(alt.value("white"))
        .when(is_changed)
        .then(alt.value("black"))
        .otherwise(alt.value("#888888")),
    )
    figure = (rectangles.add_params(pick) + letters).properties(height=70 + 22 * len(roles))
    return Chart(figure=figure, alt=_strip_in_words(table), table=table)


def _strip_in_words(table: pd.DataFrame) -> str:
    whole = table[table["role"] == ALL_ROLES]
    counts = whole["state"].value_counts()
    parts = ", ".join(f"{count} {state}" for state, count in counts.items())
    text = f"Map of mean relative change by layer and role. Layers: {parts}"
    moved = whole[(whole["state"] == "changed") & (whole["relative_change"] > 0)]
    if moved.empty:
        return f"{text}."
    most = moved.loc[moved["relative_change"].idxmax()]
    where = "outside the layers" if most["layer"] == OUTSIDE else f"in layer {most['layer']}"
    return f"{text}; the largest, {most['relative_change']:.3g}, {where}."


def ulps(counts: Mapping[str, int], unit: str) -> Chart:
    """How many values lie so many steps of a dtype from where they were; bins "0", "1", "3-4"."""
    total = sum(counts.values())
    last = max((i for i, count in enumerate(counts.values()) if count), default=0)
    bins = list(counts.items())[: max(last + 1, FEWEST_BINS)]
    table = pd.DataFrame(
        [[_bin(label), label, count, count / total if total else 0.0] for label, count in bins],
        columns=["steps", "from-to", "values", "share"],
    )
    figure = (
        alt.Chart(table)
        .mark_bar(color=KIND_COLOURS["weight"])
        .encode(
            x=alt.X(
                "steps:N",
                sort=list(table["steps"]),
                title=f"steps of {unit} between the old and the new value",
                axis=alt.Axis(labelAngle=0, labelOverlap=True),
            ),
            y=alt.Y("share:Q", title="share of values", axis=alt.Axis(format="%")),
            tooltip=["from-to:N", alt.Tooltip("values:Q", format=","), "share:Q"],
        )
        .properties(height=220)
    )
    near = sum(counts.get(label, 0) for label in ("0", "1"))
    alt_text = (
        f"Of {total:,} values {near / max(total, 1):.2%} lie at most one step of {unit} from where "
        f"they were, which is what rounding can do, and {1 - near / max(total, 1):.2%} further."
    )
    return Chart(figure=figure, alt=alt_text, table=table)


def _bin(label: str) -> str:
    """A short name for a bin of steps: 3-4, then to 16k, to 8.4M."""
    end = int(label.rpartition("-")[2])
    if end < 1000:
        return label
    size, letter = next(pair for pair in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if end >= pair[0])
    return f"to {end / size:.3g}{letter}"
