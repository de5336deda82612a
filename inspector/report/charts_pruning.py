"""Pruning as figures: energy lost against sparsity, beside what a Gaussian loses."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from inspector.report.charts import Chart

THIS, SINGLE, SAME = "this matrix", "one threshold for all", "same sparsity in each"
GAUSSIAN, GAUSSIANS = "Gaussian", "Gaussians of these scales, one threshold"
COLOURS = {
    THIS: "#0072B2",
    SINGLE: "#0072B2",
    SAME: "#009E73",
    GAUSSIAN: "#D55E00",
    GAUSSIANS: "#E69F00",
}


def energy_curves(
    sparsities: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    at: float | None = None,
) -> Chart:
    """Energy lost at each sparsity by each of the curves, whose names are in COLOURS.

    `at` marks one sparsity.
    """
    table = pd.DataFrame({"sparsity": list(sparsities), **curves})
    long = table.melt("sparsity", list(curves), var_name="curve", value_name="lost")
    scale = alt.Scale(domain=list(curves), range=[COLOURS[name] for name in curves])
    legend = alt.Legend(orient="top", labelLimit=400)
    lines = (
        alt.Chart(long)
        .mark_line(strokeWidth=2.5)
        .encode(
            x=alt.X("sparsity:Q", axis=alt.Axis(format="%"), title="sparsity: weights removed"),
            y=alt.Y("lost:Q", axis=alt.Axis(format="%"), title="energy lost"),
            color=alt.Color("curve:N", scale=scale, title=None, legend=legend),
            strokeDash=alt.StrokeDash("curve:N", sort=list(curves), title=None, legend=legend),
            tooltip=[
                "curve:N",
                alt.Tooltip("sparsity:Q", format=".0%"),
                alt.Tooltip("lost:Q", format=".3%"),
            ],
        )
    )
    figure: Any = lines
    if at is not None:
        rule = alt.Chart(pd.DataFrame({"sparsity": [at]})).mark_rule(color="#888888")
        figure = lines + rule.encode(x="sparsity:Q")
    halves = "; ".join(
        f"{name} {_value_at(sparsities, curve, 0.5):.2%} and "
        f"{_value_at(sparsities, curve, 0.9):.1%}"
        for name, curve in curves.items()
    )
    return Chart(
        figure=figure.properties(height=300),
        alt=f"Energy lost when the smallest 50 % and 90 % of the weights go: {halves}.",
        table=table,
    )


def _value_at(sparsities: Sequence[float], curve: Sequence[float], at: float) -> float:
    nearest = min(range(len(sparsities)), key=lambda i: abs(sparsities[i] - at))
    return curve[nearest]
