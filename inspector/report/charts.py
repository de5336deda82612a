"""Records as figures; each comes with a sentence that says the same and a table of its numbers."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from inspector.results import show_plain
from inspector.weights.channels import Axis
from inspector.weights.statistics import TensorStatistics
from inspector.weights.tensor import Histogram, Picture

# Okabe & Ito 2008: told apart under every common colour blindness; shapes and dashes say it again.
KIND_COLOURS = {
    "weight": "#0072B2",
    "bias": "#E69F00",
    "norm": "#009E73",
    "embedding": "#CC79A7",
    "scale": "#56B4E9",
    "buffer": "#999999",
    "other": "#D55E00",
}
MOST_POINTS = 2000  # marks of a profile; more are reduced to the extremes of each stretch


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Chart:
    """A figure, what it shows in one sentence, and its numbers as a table."""

    figure: Any
    alt: str
    table: pd.DataFrame


def _colour(kinds: Sequence[str]) -> alt.Color:
    known = [kind for kind in KIND_COLOURS if kind in kinds]
    scale = alt.Scale(domain=known, range=[KIND_COLOURS[kind] for kind in known])
    return alt.Color("kind:N", scale=scale, title="kind")


def _spoken(layer: str) -> str:
    return f"layer {layer}" if layer.isdigit() else layer


def log_axis(low: float, high: float) -> alt.Axis:
    """Round ticks on a log scale: powers of ten, with 2 and 5 between them where they are few."""
    if not 0 < low <= high:
        return alt.Axis()
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    steps = (1, 2, 5) if last - first <= 3 else (1,)
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    return alt.Axis(values=ticks, format="~g")


def parameters_by_layer(table: pd.DataFrame) -> Chart:
    """Stored parameters of each layer, split by kind; columns layer, kind, parameters, tensors."""
    layers = list(dict.fromkeys(table["layer"]))
    figure = (
        alt.Chart(table)
        .mark_bar()
        .encode(
            x=alt.X(
                "layer:N",
                sort=layers,
                title="layer",
                axis=alt.Axis(labelAngle=0, labelOverlap=True),
            ),
            y=alt.Y("parameters:Q", title="parameters", axis=alt.Axis(format="~s")),
            color=_colour(list(table["kind"])),
            tooltip=["layer:N", "kind:N", alt.Tooltip("parameters:Q", format=","), "tensors:Q"],
        )
        .properties(height=260)
    )
    largest = table.groupby("layer", sort=False)["parameters"].sum()
    alt_text = (
        f"Bars of parameters per layer by kind, {len(layers)} groups; the largest is "
        f"{_spoken(str(largest.idxmax()))} with {int(largest.max()):,}."
    )
    return Chart(figure=figure, alt=alt_text, table=table)


def size_by_depth(table: pd.DataFrame) -> Chart:
    """Typical size (rms) by layer of each kind, log scale; columns stack, layer, kind, rms."""
    shown = table[table["rms"] > 0]
    figure = (
        alt.Chart(shown)
        .mark_line(point=True)
        .encode(
            x=alt.X("layer:Q", title="layer", axis=alt.Axis(tickMinStep=1, format="d")),
            y=alt.Y(
                "rms:Q",
                scale=alt.Scale(type="log", nice=False),
                axis=log_axis(float(shown["rms"].min()), float(shown["rms"].max())),
                title="rms, log scale",
            ),
            color=_colour(list(shown["kind"])),
            strokeDash=alt.StrokeDash("kind:N", title="kind"),
            shape=alt.Shape("kind:N", title="kind"),
            detail=alt.Detail("stack:N"),
            tooltip=[
                "layer:Q",
                "kind:N",
                alt.Tooltip("rms:Q", format=".4g"),
                alt.Tooltip("std:Q", format=".4g"),
            ],
        )
        .properties(height=260)
    )
    parts = [
        f"{kind} {group['rms'].min():.3g} to {group['rms'].max():.3g}"
        for kind, group in shown.groupby("kind")
    ]
    left_out = len(table) - len(shown)
    alt_text = f"Root mean square by layer: {'; '.join(parts)}." + (
        f" {left_out} all-zero groups have no place on a log scale." if left_out else ""
    )
    return Chart(figure=figure, alt=alt_text, table=table)


def dtype_grid(table: pd.DataFrame) -> Chart:
    """Which dtype each layer's kinds are stored in; columns layer, kind, dtype, tensors."""
    layers = list(dict.fromkeys(table["layer"]))
    figure = (
        alt.Chart(table)
        .mark_rect(stroke="white")
        .encode(
            x=alt.X(
                "layer:N",
                sort=layers,
                title="layer",
                axis=alt.Axis(labelAngle=0, labelOverlap=True),
            ),
            y=alt.Y("kind:N", title=None),
            color=alt.Color("dtype:N", scale=alt.Scale(range=list(KIND_COLOURS.values()))),
            tooltip=["layer:N", "kind:N", "dtype:N", "tensors:Q"],
        )
        .properties(height=100 + 24 * table["kind"].nunique())
    )
    counts = table.groupby("dtype")["tensors"].sum().sort_values(ascending=False)
    alt_text = "Grid of stored dtypes by layer and kind: " + ", ".join(
        f"{dtype} in {n} tensors" for dtype, n in counts.items()
    )
    return Chart(figure=figure, alt=f"{alt_text}.", table=table)


def histogram(found: Histogram, record: TensorStatistics, log: bool) -> Chart:
    """How often values lie in each bin, with the quantiles as rules."""
    table = pd.DataFrame({"from": found.edges[:-1], "to": found.edges[1:], "count": found.counts})
    shown = table[table["count"] > 0]
    scale = alt.Scale(type="log", domainMin=0.5) if log else alt.Scale(zero=True)
    axis = log_axis(1, int(found.counts.max())) if log else alt.Axis(format="~s")
    bars = (
        alt.Chart(shown.assign(floor=0.5 if log else 0.0))
        .mark_rect(color=KIND_COLOURS["weight"])
        .encode(
            x=alt.X("from:Q", title="value", scale=alt.Scale(domain=found.edges[[0, -1]].tolist())),
            x2="to:Q",
            y=alt.Y(
                "count:Q", scale=scale, axis=axis, title="values" + (", log scale" if log else "")
            ),
            y2="floor:Q",
            tooltip=[
                alt.Tooltip("from:Q", format=".4g"),
                alt.Tooltip("to:Q", format=".4g"),
                "count:Q",
            ],
        )
    )
    quantiles = [
        ("q01", record.q01),
        ("q25", record.q25),
        ("q50", record.q50),
        ("q75", record.q75),
        ("q99", record.q99),
    ]
    rules = (
        alt.Chart(pd.DataFrame(quantiles, columns=["quantile", "value"]))
        .mark_rule(color=KIND_COLOURS["other"], strokeDash=[4, 3])
        .encode(x="value:Q", tooltip=["quantile:N", alt.Tooltip("value:Q", format=".4g")])
    )
    alt_text = (
        f"Histogram of {int(found.counts.sum()):,} finite values in {len(found.counts)} bins from "
        f"{found.edges[0]:.4g} to {found.edges[-1]:.4g}; median {record.q50:.4g}, "
        f"98 % of values between {record.q01:.4g} and {record.q99:.4g} "
        "(dashed: 1, 25, 50, 75, 99 %)."
    )
    return Chart(figure=(bars + rules).properties(height=300), alt=alt_text, table=table)


def profile(axis: Axis, name: str) -> Chart:
    """Size of each row or column: its rms, and its largest magnitude."""
    table = pd.DataFrame(
        {
            name: np.arange(len(axis.rms)),
            "rms": axis.rms,
            "abs max": axis.abs_max,
            "mean": axis.mean,
        }
    )
    stretch = -(-len(table) // MOST_POINTS)
    shown = table.groupby(table[name] // stretch).agg(
        {name: "first", "rms": "max", "abs max": "max"}
    )
    long = shown.melt(name, ["rms", "abs max"], var_name="measure", value_name="size").dropna()
    figure = (
        alt.Chart(long)
        .mark_line(interpolate="step", strokeWidth=1)
        .encode(
            x=alt.X(f"{name}:Q", title=name, axis=alt.Axis(format="d")),
            y=alt.Y("size:Q", title="size"),
            color=alt.Color("measure:N", scale=alt.Scale(range=["#D55E00", "#0072B2"]), title=None),
            strokeDash=alt.StrokeDash("measure:N", title=None),
            tooltip=[f"{name}:Q", "measure:N", alt.Tooltip("size:Q", format=".4g")],
        )
        .properties(height=180)
    )
    reduced = f" Each point is the largest of {stretch} {name}s." if stretch > 1 else ""
    known = axis.rms[np.isfinite(axis.rms)]
    alt_text = (
        f"Root mean square and largest magnitude of {len(table):,} {name}s; rms from "
        f"{known.min():.3g} to {known.max():.3g}, the largest in {name} "
        f"{int(np.nanargmax(axis.rms))}.{reduced}"
        if known.size
        else f"No {name} has a finite value."
    )
    return Chart(figure=figure, alt=alt_text, table=table)


def picture(found: Picture) -> Chart:
    """A matrix as colours: blue below zero, orange above, white at zero."""
    sizes = np.abs(found.cells[np.isfinite(found.cells)])
    limit = float(sizes.max()) if sizes.size else 1.0
    bound = (
        float(np.quantile(sizes, 0.99))
        if sizes.size and np.quantile(sizes, 0.99) > 0
        else limit or 1.0
    )
    figure = go.Figure(
        go.Heatmap(
            z=found.cells.astype(np.float32),
            zmin=-bound,
            zmax=bound,
            zmid=0,
            colorscale=[
                [0, "#053061"],
                [0.25, "#4393C3"],
                [0.5, "#F7F7F7"],
                [0.75, "#E08214"],
                [1, "#7F3B08"],
            ],
            x0=0,
            dx=found.columns / found.cells.shape[1],
            y0=0,
            dy=found.rows / found.cells.shape[0],
            hovertemplate="row %{y:.0f}, column %{x:.0f}: %{z:.4g}<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", title="row")
    figure.update_xaxes(title="column")
    figure.update_layout(height=420, margin={"l": 50, "r": 10, "t": 10, "b": 40})
    alt_text = (
        f"Heat map, {found.reduction}. Largest magnitude {limit:.4g}; colours end at {bound:.4g}, "
        "the 99 % quantile of the cells, so that one outlier does not grey out the rest."
    )
    return Chart(figure=figure, alt=alt_text, table=pd.DataFrame(found.cells))


def peers(records: Sequence[TensorStatistics], name: str, measure: str) -> Chart:
    """One measure of tensors of the same role through the layers; the open one is marked."""
    table = pd.DataFrame(
        {
            "layer": [record.layer for record in records],
            measure: [getattr(record, measure) for record in records],
            "tensor": [show_plain(record.name) for record in records],
            "open": ["this tensor" if record.name == name else "same role" for record in records],
        }
    ).dropna()
    figure = (
        alt.Chart(table)
        .mark_point(filled=True, size=70, opacity=1)
        .encode(
            x=alt.X("layer:Q", title="layer", axis=alt.Axis(tickMinStep=1, format="d")),
            y=alt.Y(f"{measure}:Q", title=measure, scale=alt.Scale(zero=False)),
            color=alt.Color(
                "open:N",
                scale=alt.Scale(domain=["same role", "this tensor"], range=["#0072B2", "#D55E00"]),
                title=None,
            ),
            shape=alt.Shape("open:N", title=None),
            tooltip=["layer:Q", "tensor:N", alt.Tooltip(f"{measure}:Q", format=".4g")],
        )
        .properties(height=220)
    )
    alt_text = (
        f"{measure} of {len(table)} tensors of the same role by layer, from "
        f"{table[measure].min():.4g} to {table[measure].max():.4g}."
        if len(table)
        else f"No tensor of this role has this measure: {measure}."
    )
    return Chart(figure=figure, alt=alt_text, table=table)
