"""Methods side by side: each one's scores of the words, and how alike their orders are."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from inspector.model.records import Agreement
from inspector.report.attribution_words import visible
from inspector.report.charts import Chart
from inspector.report.charts_attribution import (
    ASLANT,
    LEGEND,
    MOST_COLUMNS,
    NAMES,
    UPRIGHT,
    cells,
)

Ranking = Sequence[Mapping[str, Any]]


def by_method(ranking: Ranking, units: Sequence[str], first: int = 0) -> Chart:
    """Method by unit, each method scaled to its largest score; `first` begins the window."""
    shown = range(first, min(first + MOST_COLUMNS, len(units)))
    names = {i: f"{i + 1} {visible(units[i], 16)}" for i in shown}
    rows = [
        [line["name"], names[i], line["scores"][i] / largest, line["scores"][i]]
        for line in ranking
        for largest in [max(map(abs, line["scores"]), default=0.0) or 1.0]
        for i in shown
    ]
    table = pd.DataFrame(rows, columns=["method", "unit", "share", "score"])
    base = alt.Chart(table).encode(
        x=alt.X(
            "unit:N",
            sort=list(names.values()),
            title=None,
            axis=ASLANT,
        ),
        y=alt.Y(
            "method:N",
            sort=[line["name"] for line in ranking],
            title=None,
            axis=UPRIGHT,
        ),
        tooltip=["method:N", "unit:N", alt.Tooltip("score:Q", format=".4g")],
    )
    figure = cells(base, "share", 1.0, "share of the method's largest score", len(table))
    tops = pd.Series([_top(line, units) for line in ranking]).value_counts()
    part = f", units {first + 1} to {shown.stop} of {len(units)}" if len(shown) < len(units) else ""
    most = f"{tops.iloc[0]} of {len(ranking)} give the most to {tops.index[0]}" if len(tops) else ""
    return Chart(
        figure=figure.properties(height=LEGEND + NAMES + 28 * len(ranking)),
        alt=f"Scores of {len(ranking)} methods and pictures of attention{part}, each scaled to its "
        f"largest; {most}. Attention has no sign.",
        table=table,
    )


def _top(line: Mapping[str, Any], units: Sequence[str]) -> str:
    scores = [abs(score) for score in line["scores"]]
    at = scores.index(max(scores))
    return f"unit {at + 1}, {visible(units[at])}"


def rank_correlations(records: Sequence[Agreement], order: Sequence[str]) -> Chart:
    """How alike two methods rank the words, for every pair: Spearman's correlation, -1 to 1."""
    both = [
        [one, other, record.spearman, "with sign" if record.signed else "by size"]
        for record in records
        for one, other in ((record.one, record.other), (record.other, record.one))
    ]
    table = pd.DataFrame(both, columns=["one", "other", "correlation", "compared"])
    table["correlation"] = table["correlation"].astype(float)
    base = alt.Chart(table.dropna()).encode(
        x=alt.X("one:N", sort=list(order), title=None, axis=ASLANT),
        y=alt.Y("other:N", sort=list(order), title=None, axis=UPRIGHT),
        tooltip=["one:N", "other:N", alt.Tooltip("correlation:Q", format=".3f"), "compared:N"],
    )
    figure = cells(base, "correlation", 1.0, "Spearman's correlation", len(table))
    known = table.dropna()["correlation"]
    told = (
        f"from {known.min():.2f} to {known.max():.2f}, half of them above {known.median():.2f}"
        if len(known)
        else "none is known, as scores are constant"
    )
    return Chart(
        figure=figure.properties(height=LEGEND + NAMES + 28 * len(order)),
        alt=f"Rank correlations of {len(order)} methods and pictures of attention, pair by pair: "
        f"{told}. Without relation 0 is expected.",
        table=table,
    )
