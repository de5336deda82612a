"""Groups of a classifier as pictures: rates with intervals, gaps beside chance, calibration."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import altair as alt
import pandas as pd

from inspector.fairness.probes.records import Probe
from inspector.report.bias_words import quantity
from inspector.report.charts import Chart
from inspector.report.charts_bias import LABELS, NULL, SHAPES
from inspector.report.groups_words import ends, size
from inspector.results import show_plain

Row = Mapping[str, Any]
COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")  # Okabe & Ito
MARKS: Final = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
RATES: Final = ("selected", "true positives", "false positives", "correct")
MOST_GROUPS: Final = 30  # drawn; the table has all
MOST_LINES: Final = len(COLOURS)
ROOM: Final = 110  # for legend, axis and its title


def rates(rows: Sequence[Row]) -> Chart:
    """Every rate of every group of one attribute with Wilson's interval; small ones hollow."""
    table = pd.DataFrame(rows)[["group", "rate", "n", "estimate", "low", "high", "compared"]]
    table["group"] = [show_plain(str(one), 60) for one in table["group"]]
    names = list(dict.fromkeys(table["group"]))
    shown = table[table["group"].isin(names[:MOST_GROUPS])].dropna(subset=["estimate"])
    kinds = [rate for rate in RATES if rate in set(shown["rate"])]
    base = alt.Chart(shown).encode(
        y=alt.Y("group:N", sort=names, title=None, axis=LABELS),
        yOffset=alt.YOffset("rate:N", sort=kinds),
        color=alt.Color(
            "rate:N",
            scale=_scale(kinds, COLOURS),
            legend=alt.Legend(orient="top", title=None, symbolStrokeWidth=2),
        ),
    )
    x = alt.X(
        "estimate:Q",
        title="share of the group's texts",
        axis=alt.Axis(format=".0%"),
        scale=alt.Scale(domain=[0, 1]),
    )
    marks = base.mark_point(size=80, opacity=1, strokeWidth=2).encode(
        x=x,
        shape=alt.Shape("rate:N", scale=_scale(kinds, MARKS)),
        fillOpacity=alt.condition("datum.compared", alt.value(1), alt.value(0)),
        fill=alt.Fill(
            "rate:N",
            scale=_scale(kinds, COLOURS),
            legend=None,
        ),
        tooltip=[
            "group:N",
            "rate:N",
            alt.Tooltip("n:Q", title="texts"),
            *(alt.Tooltip(f"{name}:Q", format=".4g") for name in ("estimate", "low", "high")),
        ],
    )
    lines = base.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q")
    height = ROOM + min(len(names), MOST_GROUPS) * (14 * len(kinds) + 14)
    return Chart(
        figure=alt.layer(lines, marks).properties(height=height),
        alt=_rates_in_words(table, names, kinds),
        table=table,
    )


def _scale(names: Sequence[str], looks: Sequence[str]) -> alt.Scale:
    return alt.Scale(domain=list(names), range=list(looks[: len(names)]))


def _rates_in_words(table: pd.DataFrame, names: Sequence[str], kinds: Sequence[str]) -> str:
    told = []
    for kind in kinds:
        known = table[(table["rate"] == kind) & table["compared"]].dropna(subset=["estimate"])
        if len(known) > 1:
            least, most = (
                known.loc[known["estimate"].idxmin()],
                known.loc[known["estimate"].idxmax()],
            )
            told.append(
                f"{kind}: {quantity(float(least['estimate']), 'share')} ({least['group']}) to "
                f"{quantity(float(most['estimate']), 'share')} ({most['group']})"
            )
    small = int((~table["compared"]).sum())
    hollow = f" Hollow: {small} rates that rest on too few texts." if small else ""
    fewer = f" Drawn are the first {MOST_GROUPS}." if len(names) > MOST_GROUPS else ""
    return f"Rates of {len(names)} groups with 95 % intervals. {'; '.join(told)}.{hollow}{fewer}"


def gaps(records: Sequence[Probe]) -> Chart:
    """Widest gaps with intervals, each beside what groups without one would show by chance."""
    table = pd.DataFrame(
        [
            [r.metric, r.category, r.estimate, r.low, r.high, r.expected, r.p_adjusted, r.verdict]
            for r in records
        ],
        columns=["metric", "attribute", "gap", "low", "high", "by chance", "p", "verdict"],
    )
    table["attribute"] = [show_plain(str(one), 60) for one in table["attribute"]]
    several = table["attribute"].nunique() > 1
    table["what"] = [
        f"{metric} ({attribute})" if several else metric
        for metric, attribute in zip(table["metric"], table["attribute"], strict=True)
    ]
    shown = table.dropna(subset=["gap"]).head(MOST_GROUPS)
    shown = shown.rename(columns={"by chance": "chance"})
    verdicts = [one for one in SHAPES if one in set(shown["verdict"])]
    base = alt.Chart(shown).encode(
        y=alt.Y("what:N", sort=list(shown["what"]), title=None, axis=LABELS)
    )

    def by_verdict(make: Any, place: int) -> Any:
        scale = alt.Scale(domain=verdicts, range=[SHAPES[one][place] for one in verdicts])
        return make("verdict:N", scale=scale, legend=alt.Legend(orient="top", title=None))

    tips = [
        "what:N",
        "verdict:N",
        *(alt.Tooltip(f"{name}:Q", format=".4g") for name in ("gap", "low", "high", "chance", "p")),
    ]
    figure = alt.layer(
        base.mark_rule(strokeWidth=2).encode(
            x="low:Q", x2="high:Q", color=by_verdict(alt.Color, 0)
        ),
        base.mark_tick(thickness=4, size=24, color=NULL).encode(x="chance:Q", tooltip=tips),
        base.mark_point(filled=True, size=110, opacity=1).encode(
            x=alt.X(
                "gap:Q",
                title="widest gap between groups",
                axis=alt.Axis(format=".0%"),
                scale=alt.Scale(domainMin=0),
            ),
            color=by_verdict(alt.Color, 0),
            shape=by_verdict(alt.Shape, 1),
            tooltip=tips,
        ),
    ).properties(height=ROOM + 34 * len(shown))
    told = "; ".join(
        f"{row.what}: {size(row.gap, 'share')} ({size(row.chance, 'share')} by chance)"
        for row in shown.head(6).itertuples()
        if pd.notna(row.chance)
    )
    return Chart(
        figure=figure,
        alt="Widest gaps between groups with intervals that hold for all pairs at once. Grey "
        f"bars: what groups without a gap would show by chance. {told}.",
        table=table.drop(columns="what"),
    )


def calibration(rows: Sequence[Row]) -> Chart:
    """How often forecasts came true in each group, by their size; on the line: as often as said."""
    points = [
        [show_plain(str(row["group"]), 60), forecast, came, n]
        for row in rows
        for forecast, came, n in row["bins"]
    ]
    table = pd.DataFrame(points, columns=["group", "forecast", "came true", "texts"])
    names = list(dict.fromkeys(table["group"]))
    shown = table[table["group"].isin(names[:MOST_LINES])].rename(columns={"came true": "came"})
    lines = names[:MOST_LINES]
    base = alt.Chart(shown).encode(
        x=alt.X(
            "forecast:Q",
            title="mean forecast of a tenth",
            axis=alt.Axis(format=".0%"),
            scale=alt.Scale(domain=[0, 1]),
        ),
        y=alt.Y(
            "came:Q",
            title="share that came true",
            axis=alt.Axis(format=".0%"),
            scale=alt.Scale(domain=[0, 1]),
        ),
        color=alt.Color(
            "group:N",
            scale=_scale(lines, COLOURS),
            legend=alt.Legend(orient="top", title=None, labelLimit=300),
        ),
    )
    marks = base.mark_point(filled=True, opacity=0.9).encode(
        shape=alt.Shape("group:N", scale=_scale(lines, MARKS)),
        size=alt.Size("texts:Q", scale=alt.Scale(range=[40, 400]), legend=None),
        tooltip=["group:N", "texts:Q", alt.Tooltip("forecast:Q", format=".4g"),
                 alt.Tooltip("came:Q", title="came true", format=".4g")],
    )  # fmt: skip
    line = (
        alt.Chart(pd.DataFrame({"x": [0, 1], "y": [0, 1]}))
        .mark_line(color=NULL, strokeDash=[5, 4])
        .encode(x="x:Q", y="y:Q")
    )
    told = "; ".join(
        f"{show_plain(str(row['group']), 60)} {size(row['excess'], 'share')} "
        f"({ends(row['excess_low'], row['excess_high'], 'share')})"
        for row in rows[:MOST_LINES]
    )
    fewer = f" Drawn are the first {MOST_LINES}." if len(names) > MOST_LINES else ""
    return Chart(
        figure=alt.layer(line, base.mark_line(strokeWidth=1.5, opacity=0.7), marks).properties(
            height=420
        ),
        alt=f"Calibration of {len(names)} groups; larger marks are more texts. Mean forecast "
        f"less what came true: {told}.{fewer} "
        "Dashed: as often as said.",
        table=table,
    )
