"""Where rules of health fail, as a figure."""

import altair as alt
import pandas as pd

from inspector.report.charts import Chart
from inspector.weights.makeup import OUTSIDE

SEVERITY_COLOURS = {"error": "#D55E00", "warning": "#E69F00", "info": "#56B4E9"}


def places(table: pd.DataFrame, layers: list[str]) -> Chart:
    """Rule by layer, a count where it fails; columns rule, layer, severity, places, worst first."""
    order = list(dict.fromkeys(table["rule"]))
    known = [severity for severity in SEVERITY_COLOURS if severity in set(table["severity"])]
    colours = alt.Scale(domain=known, range=[SEVERITY_COLOURS[severity] for severity in known])
    base = alt.Chart(table).encode(
        x=alt.X(
            "layer:N",
            title="layer",
            scale=alt.Scale(domain=layers),
            axis=alt.Axis(labelAngle=0, labelOverlap=True, labelFlush=False),
        ),
        y=alt.Y("rule:N", sort=order, title=None, axis=alt.Axis(labelLimit=220)),
        tooltip=["rule:N", "layer:N", "severity:N", "places:Q"],
    )
    cells = base.mark_rect(cornerRadius=3).encode(
        color=alt.Color("severity:N", scale=colours, title="severity")
    )
    counts = base.mark_text(color="black", fontWeight="bold").encode(text="places:Q")
    figure = (cells + counts).properties(height=60 + 30 * len(order))
    worst = table.groupby("layer", sort=False)["places"].sum()
    where = str(worst.idxmax())
    spoken = "what stands outside the layers" if where == OUTSIDE else f"layer {where}"
    alt_text = (
        f"Failing rules by layer: {int(table['places'].sum())} places under {len(order)} rules; "
        f"most, {int(worst.max())}, in {spoken}."
    )
    return Chart(figure=figure, alt=alt_text, table=table)
