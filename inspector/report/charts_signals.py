"""Signals and units on real text, as pictures: size through depth, silence, biases beside W x."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from inspector.model.records import LayerActivations
from inspector.report import charts_grid
from inspector.report.charts import Chart, log_axis
from inspector.weights.makeup import block_label

SIZES = {  # field -> (what it is, colour: Okabe & Ito 2008)
    "stream_rms": ("stream after the layer", "#0072B2"),
    "attention_rms": ("added by attention", "#E69F00"),
    "mlp_rms": ("added by the MLP", "#009E73"),
}
UNITS = {"dead_units": "dead", "saturated_units": "saturated", "linear_units": "linear"}
UNIT_COLOURS = {"dead": "#D55E00", "saturated": "#CC79A7", "linear": "#56B4E9"}
Layers = Sequence[LayerActivations]


def _block(record: LayerActivations) -> str:
    return block_label(record.stack or None, record.layer)


def sizes(records: Layers) -> Chart:
    """Root mean square of the stream and of what each layer adds to it, log scale."""
    rows = [
        [_block(r), what, getattr(r, field), *((r.stream_rms_low, r.stream_rms_high)
         if field == "stream_rms" else (None, None))]
        for r in records
        for field, (what, _) in SIZES.items()
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["layer", "of", "rms", "low", "high"])
    shown = table[table["rms"] > 0]
    names, colours = zip(*SIZES.values(), strict=True)
    ends = float(shown["rms"].min()), float(shown["rms"].max())
    layers = list(dict.fromkeys(table["layer"]))
    base = alt.Chart(shown).encode(
        x=alt.X("layer:N", sort=layers, title="layer", axis=_FLAT),
    )
    lines = base.mark_line(point=True).encode(
        y=alt.Y(
            "rms:Q",
            title="rms, log scale",
            scale=alt.Scale(type="log", nice=False),
            axis=log_axis(*ends),
        ),
        color=alt.Color(
            "of:N",
            scale=alt.Scale(domain=list(names), range=list(colours)),
            title=None,
            legend=alt.Legend(orient="top"),
        ),
        strokeDash=alt.StrokeDash("of:N", title=None),
        shape=alt.Shape("of:N", title=None),
        tooltip=[
            "layer:N",
            "of:N",
            *(alt.Tooltip(f"{name}:Q", format=".4g") for name in ("rms", "low", "high")),
        ],
    )
    ranged = shown[(shown["low"].astype(float) > 0)]
    figure = lines
    if len(ranged):
        figure = figure + alt.Chart(ranged).mark_rule(color="#0072B2", opacity=0.5).encode(
            x=alt.X("layer:N", sort=layers), y="low:Q", y2="high:Q"
        )
    stream = table[table["of"] == SIZES["stream_rms"][0]]["rms"]
    return Chart(
        figure=figure.properties(height=280),
        alt=f"Size of the stream through {len(layers)} layers: {stream.iloc[0]:.3g} after the "
        f"first, {stream.iloc[-1]:.3g} after the last; rules: range over texts.",
        table=table,
    )


def units(records: Layers) -> Chart:
    """Share of each layer's units that are dead, saturated or linear on every token."""
    rows = [
        [_block(r), name, getattr(r, field), r.units, getattr(r, field) / r.units]
        for r in records
        if r.units
        for field, name in UNITS.items()
    ]
    table = pd.DataFrame(rows, columns=["layer", "sort", "units", "of", "share"])
    layers = list(dict.fromkeys(table["layer"]))
    figure = (
        alt.Chart(table)
        .mark_bar()
        .encode(
            x=alt.X("layer:N", sort=layers, title="layer", axis=_FLAT),
            xOffset=alt.XOffset("sort:N", sort=list(UNIT_COLOURS)),
            y=alt.Y("share:Q", title="share of units", axis=alt.Axis(format="%")),
            color=alt.Color(
                "sort:N",
                scale=alt.Scale(
                    domain=list(UNIT_COLOURS), range=list(UNIT_COLOURS.values())
                ),
                title=None,
                legend=alt.Legend(orient="top"),
            ),
            tooltip=["layer:N", "sort:N", "units:Q", "of:Q", alt.Tooltip("share:Q", format=".2%")],
        )
        .properties(height=240)
    )  # fmt: skip
    whole = table.groupby("sort", sort=False)[["units", "of"]].sum()
    told = ", ".join(f"{row.units:,} {sort}" for sort, row in whole.iterrows())
    total = int(whole["of"].iloc[0]) if len(whole) else 0
    return Chart(figure=figure, alt=f"Of {total:,} units on every token: {told}.", table=table)


def bias_ratios(found: Sequence[Mapping[str, Any]]) -> Chart:
    """How large each bias is beside what it is added to, by layer and role."""
    table = pd.DataFrame(
        [[block_label(None, one["layer"]), one["role"], one["ratio"]] for one in found],
        columns=["block", "role", "ratio"],
    )
    return charts_grid.grid(table, "ratio", "size of b over W x")


_FLAT = alt.Axis(labelAngle=0, labelOverlap=True)
