"""Initialisation as figures: predicted signal gain by layer, and values beside a scheme's draw."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from inspector.report.charts import Chart, log_axis
from inspector.weights.makeup import block_label
from inspector.weights.schemes import SHAPES
from inspector.weights.tensor import Histogram

BLUE, ORANGE = "#0072B2", "#D55E00"


def signal_gain(predictions: Sequence[Mapping[str, Any]]) -> Chart:
    """Predicted factor on the variance of signal and gradient over each block; 1 keeps it.

    `predictions` are those of the summary of an initialisation, as plain values.
    """
    rows = [
        (block_label(one["stack"], gain["layer"]), direction, gain[key])
        for one in predictions
        for gain in one["layers"]
        for direction, key in (("signal, forward", "forward"), ("gradient, backward", "backward"))
    ]
    table = pd.DataFrame(rows, columns=["block", "direction", "gain"])
    shown = table[table["gain"] > 0]
    ends = (min(shown["gain"].min(), 0.5), max(shown["gain"].max(), 2.0))
    scale = alt.Scale(type="log", domain=[ends[0] * 0.9, ends[1] * 1.1], nice=False)
    colours = alt.Scale(domain=["signal, forward", "gradient, backward"], range=[BLUE, ORANGE])
    legend = alt.Legend(orient="top")
    lines = (
        alt.Chart(shown)
        .mark_line(point={"size": 70})
        .encode(
            x=alt.X(
                "block:N",
                sort=list(dict.fromkeys(table["block"])),
                title="layer",
                axis=alt.Axis(labelAngle=0, labelOverlap=True),
            ),
            y=alt.Y(
                "gain:Q",
                scale=scale,
                axis=log_axis(*ends),
                title="factor on the variance, log scale",
            ),
            color=alt.Color("direction:N", scale=colours, title=None, legend=legend),
            strokeDash=alt.StrokeDash("direction:N", title=None, legend=legend),
            tooltip=["block:N", "direction:N", alt.Tooltip("gain:Q", format=".4g")],
        )
    )
    steady = alt.Chart(pd.DataFrame({"gain": [1.0]})).mark_rule(strokeDash=[4, 4], color="#888888")
    figure = (steady.encode(y=alt.Y("gain:Q", scale=scale)) + lines).properties(height=260)
    totals = "; ".join(_total(one) for one in predictions)
    alt_text = f"Predicted factor on the variance over each layer; 1 (dashed) keeps it. {totals}"
    return Chart(figure=figure, alt=alt_text, table=table)


def _total(one: Mapping[str, Any]) -> str:
    if one["forward_total"] is None or one["backward_total"] is None:
        return "There is one layer only: no total."
    stack = f" of the {one['stack']}" if one["stack"] else ""
    return (
        f"Over all layers{stack} but the first the signal's variance changes by a factor of "
        f"{one['forward_total']:.3g} ({one['forward_verdict']}), the gradient's by "
        f"{one['backward_total']:.3g} ({one['backward_verdict']})."
    )


def against_shape(found: Histogram, std: float, shape: str) -> Chart:
    """How often values lie in each bin, and how often in a fresh draw of the same size.

    `shape` is a name in SHAPES, drawn with mean 0 and standard deviation `std`.
    """
    total = int(found.counts.sum())
    scaled = np.asarray(found.edges, dtype=np.float64) / (std or math.inf)
    expected = total * np.diff(SHAPES[shape].below(scaled))
    table = pd.DataFrame(
        {
            "from": found.edges[:-1],
            "to": found.edges[1:],
            "count": found.counts,
            "expected": expected,
        }
    )
    bars = (
        alt.Chart(table[table["count"] > 0])
        .mark_rect(color=BLUE)
        .encode(
            x=alt.X("from:Q", title="value", scale=alt.Scale(domain=found.edges[[0, -1]].tolist())),
            x2="to:Q",
            y=alt.Y("count:Q", title="values", axis=alt.Axis(format="~s")),
            y2=alt.datum(0),
            tooltip=[
                alt.Tooltip("from:Q", format=".4g"),
                alt.Tooltip("to:Q", format=".4g"),
                "count:Q",
                alt.Tooltip("expected:Q", format=".1f"),
            ],
        )
    )
    middle = table.assign(value=(table["from"] + table["to"]) / 2, line="a fresh draw")
    colour = alt.Color(
        "line:N", scale=alt.Scale(range=[ORANGE]), title=None, legend=alt.Legend(orient="top")
    )
    curve = (
        alt.Chart(middle)
        .mark_line(strokeWidth=2.5, interpolate="monotone")
        .encode(x="value:Q", y="expected:Q", color=colour)
    )
    inside = float(np.minimum(expected, found.counts).sum()) / total if total else 0.0
    alt_text = (
        f"Histogram of {total:,} values (bars) and of a fresh draw, {shape} of standard deviation "
        f"{std:.3g} (line); {inside:.1%} of the values lie where the draw would have them."
    )
    return Chart(figure=(bars + curve).properties(height=300), alt=alt_text, table=table)
