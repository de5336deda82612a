"""What bias probes found, as pictures: forests with intervals, scorers, templates."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import altair as alt
import pandas as pd

from inspector.fairness.probes.records import ALL, CONTROLS, Probe
from inspector.fairness.verdicts import (
    CHANGED,
    DETECTED,
    EQUIVALENT,
    INCONCLUSIVE,
    INVALID,
)
from inspector.report.bias_words import SHORT, distance, quantity
from inspector.report.charts import Chart
from inspector.results import show_plain

SHAPES: Final = {  # verdict -> colour (Okabe & Ito 2008) and shape
    DETECTED: ("#D55E00", "diamond"),
    CHANGED: ("#D55E00", "diamond"),
    EQUIVALENT: ("#0072B2", "circle"),
    INCONCLUSIVE: ("#888888", "square"),
    INVALID: ("#CC79A7", "cross"),
}
MOST_ROWS: Final = 40  # of a forest; more are named in its sentence and stand in its table
ROW: Final = 38
ROOM: Final = 120  # for legend, axis and its title, which are within the height
NULL: Final = "#888888"
WRITING: Final = "#888888"  # is read on white and on black
LABELS: Final = alt.Axis(labelLimit=320, labelOverlap=False, ticks=False, domain=False)
_SHARE: Final = ("share", "low", "high")
ORDER: Final = (ALL, "categories", "groups")


def forest(records: Sequence[Probe], margin: float | None = None) -> Chart:
    """Every number of one metric and scorer with its interval, beside the value without bias."""
    rows = [
        [r.category, r.family, r.estimate, r.low, r.high, r.verdict, r.n_items, r.n_clusters]
        for r in records
    ]
    columns = ["category", "family", "estimate", "low", "high", "verdict", "items", "units"]
    table = pd.DataFrame(rows, columns=columns)
    adjusted = pd.Series([r.p_adjusted for r in records], dtype=float)
    table = table.assign(p=adjusted, left_out=[r.n_excluded for r in records])
    null = next((r.null for r in records if r.null is not None), None)
    unit = next((r.unit for r in records if r.unit is not None), None)
    metric = records[0].metric
    return _forest(table, metric, null, unit, margin, "without bias", quantity)


def changes(records: Sequence[Probe], margin: float | None = None) -> Chart:
    """Every paired change from the baseline with its interval, beside no change."""
    known = [r for r in records if r.change_verdict is not None]
    rows = [
        [r.category, r.family, r.change, r.change_low, r.change_high, r.change_verdict]
        + [r.n_items, r.n_clusters, r.change_p_adjusted, r.baseline, r.estimate]
        for r in known
    ]
    columns = ["category", "family", "estimate", "low", "high", "verdict", "items", "units", "p"]
    table = pd.DataFrame(rows, columns=[*columns, "before", "after"])
    unit = next((r.unit for r in known if r.unit is not None), None)
    return _forest(table, f"change of {known[0].metric}", 0.0, unit, margin, "no change", distance)


def _forest(
    table: pd.DataFrame,
    metric: str,
    null: float | None,
    unit: str | None,
    margin: float | None,
    null_name: str,
    say: Callable[[float, str | None], str],
) -> Chart:
    table = _ordered(table)
    shown = table.head(MOST_ROWS).copy()
    shown["label"] = _labels(list(shown["category"]), list(shown["family"]))
    shown["at"] = shown["estimate"].astype(float).fillna(null or 0.0)
    shown["says"] = [
        f"{verdict}: {say(value, unit)}" if pd.notna(value) else f"{verdict}: no number"
        for verdict, value in zip(shown["verdict"], shown["estimate"], strict=True)
    ]
    verdicts = [verdict for verdict in SHAPES if verdict in set(shown["verdict"])]
    y = alt.Y("label:N", sort=list(shown["label"]), title=None, axis=LABELS)
    low, high = _domain(shown, null, margin, unit)
    form = ".0%" if unit == "share" else "~g"
    named = metric if unit in (None, "", "share") else f"{metric}, {SHORT.get(unit, unit)}"
    x = alt.X(
        "at:Q",
        title=named,
        axis=alt.Axis(format=form, tickCount=10),
        scale=alt.Scale(domain=[low, high], nice=False, zero=False),
    )
    line = (low + high) / 2 if null is None else null
    edge = (high - low) / 3
    tips = ["label:N", "verdict:N", *(alt.Tooltip(f"{n}:Q", format=".4g") for n in _NUMBERS)]
    tips += ["items:Q", "units:Q"]
    base = alt.Chart(shown).encode(y=y)
    marks = base.mark_point(filled=True, size=130, opacity=1).encode(
        x=x,
        color=_scaled(alt.Color, verdicts, 0),
        shape=_scaled(alt.Shape, verdicts, 1),
        tooltip=tips,
    )
    intervals = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q"), x2="high:Q", color=_scaled(alt.Color, verdicts, 0)
    )
    words = base.mark_text(
        dy=-13,
        fontSize=12,
        color=WRITING,
        align=alt.expr(  # away from the line, but not out of the picture
            f"datum.at > {high - edge} ? 'right' : datum.at < {low + edge} ? 'left'"
            f" : datum.at < {line} ? 'right' : 'left'"
        ),
    ).encode(x=x, text="says:N")
    layers = [*_references(null, margin), intervals, marks, words]
    figure = alt.layer(*layers).properties(height=ROOM + ROW * len(shown))
    return Chart(
        figure=figure,
        alt=_in_words(table, shown, metric, null, unit, null_name, say),
        table=table.assign(category=[show_plain(one, 80) for one in table["category"]]),
    )


_NUMBERS: Final = ("estimate", "low", "high", "p")


def _scaled(channel: Any, verdicts: Sequence[str], which: int) -> Any:
    """Colour or shape by verdict."""
    scale = alt.Scale(domain=list(verdicts), range=[SHAPES[one][which] for one in verdicts])
    legend = alt.Legend(orient="top", title=None)
    return channel("verdict:N", scale=scale, legend=legend)


def _references(null: float | None, margin: float | None) -> list[Any]:
    """The line of no bias, and the margin around it."""
    if null is None:
        return []
    drawn = []
    if margin is not None:
        band = pd.DataFrame({"from": [null - margin], "to": [null + margin]})
        drawn.append(
            alt.Chart(band).mark_rect(color="#56B4E9", opacity=0.2).encode(x="from:Q", x2="to:Q")
        )
    line = pd.DataFrame({"null": [null]})
    drawn.append(alt.Chart(line).mark_rule(color=NULL, strokeDash=[5, 4]).encode(x="null:Q"))
    return drawn


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    """The overall number first, controls last."""
    rank = {name: i for i, name in enumerate(ORDER)}
    place = [
        len(ORDER) + 1 if family == CONTROLS else rank.get(family, len(ORDER))
        for family in table["family"]
    ]
    return table.assign(place=place).sort_values("place", kind="stable").drop(columns="place")


def _labels(categories: Sequence[str], families: Sequence[str]) -> list[str]:
    """A name of its own for each row."""
    found: list[str] = []
    for category, family in zip(categories, families, strict=True):
        shown = show_plain(category, 44)
        if family == CONTROLS and category != CONTROLS:
            shown = f"control: {shown}"
        again = sum(one == shown or one.startswith(f"{shown} #") for one in found)
        found.append(f"{shown} #{again + 1}" if again else shown)
    return found


def _domain(
    shown: pd.DataFrame, null: float | None, margin: float | None, unit: str | None
) -> tuple[float, float]:
    known = pd.concat([shown[name].astype(float) for name in ("low", "high", "at")]).dropna()
    ends = [*known, *([] if null is None else [null - (margin or 0.0), null + (margin or 0.0)])]
    low, high = min(ends), max(ends)
    room = 0.08 * (high - low) or 0.1 * abs(low) or 0.1
    if unit == "share" and low >= 0:
        return max(-0.01, float(low - room)), min(1.01, float(high + room))
    return float(low - room), float(high + room)


def _in_words(
    table: pd.DataFrame,
    shown: pd.DataFrame,
    metric: str,
    null: float | None,
    unit: str | None,
    null_name: str,
    say: Callable[[float, str | None], str],
) -> str:
    counts = table.loc[table["family"] != CONTROLS, "verdict"].value_counts()
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    first = table.iloc[0]
    lines = [f"{metric[:1].upper()}{metric[1:]} of {len(table)} rows with 95 % intervals: {told}."]
    if first[["estimate", "low", "high"]].notna().all():
        value, low, high = (say(float(first[n]), unit) for n in ("estimate", "low", "high"))
        lines.append(f"Over all: {value} ({low} to {high}).")
    if null is not None:
        lines.append(f"Dashed: {null_name}, {say(null, unit)}.")
    if len(shown) < len(table):
        lines.append(f"Drawn are the first {len(shown)}; the table has all.")
    return " ".join(lines)


def scorers(panel: Mapping[str, Any], null: float = 0.5) -> Chart:
    """The share of preference by each scorer on the same items, with intervals."""
    rows = [[name, one["value"], one["low"], one["high"]] for name, one in panel["shares"].items()]
    table = pd.DataFrame(rows, columns=["scorer", "share", "low", "high"])
    y = alt.Y("scorer:N", sort=list(table["scorer"]), title=None, axis=LABELS)
    base = alt.Chart(table).encode(y=y)
    axis = alt.Axis(format=".0%", tickCount=10)
    scale = alt.Scale(domain=[0, 1])
    x = alt.X("share:Q", title="share of items that lean to the stereotype", axis=axis, scale=scale)
    figure = alt.layer(
        *_references(null, None),
        base.mark_rule(strokeWidth=2, color="#0072B2").encode(x="low:Q", x2="high:Q"),
        base.mark_point(filled=True, size=110, color="#0072B2", opacity=1).encode(
            x=x, tooltip=["scorer:N", *(alt.Tooltip(f"{n}:Q", format=".4g") for n in _SHARE)]
        ),
    ).properties(height=ROOM + 30 * len(table))
    told = ", ".join(f"{row[0]} {quantity(row[1], 'share')}" for row in rows)
    return Chart(
        figure=figure,
        alt=f"Share of preference on the same {panel['n_items']:,} items by scorer: {told}. "
        f"Largest less smallest: {distance(panel['spread'], 'share')}.",
        table=table,
    )


def templates(found: Mapping[str, Any], unit: str | None = "nats") -> Chart:
    """Each template alone, and all without it: does the result hang on one of them?"""
    rows = []
    for i, one in enumerate(found["templates"]):
        for name, label in (("alone", "this template alone"), ("without", "all without it")):
            measured = one[name]
            if measured is not None:
                judged = one["judged" if name == "alone" else "judged_without"]
                estimate = measured["estimate"]
                text = f"{i + 1}: {show_plain(str(one['template']), 60)}"
                ends = (estimate["low"], estimate["high"])
                rows.append([text, label, estimate["value"], *ends, judged["verdict"]])
    table = pd.DataFrame(rows, columns=["template", "which", "estimate", "low", "high", "verdict"])
    overall, null = found["overall"]["estimate"]["value"], found["overall"]["null"]
    names = list(dict.fromkeys(table["template"]))
    sides = ["this template alone", "all without it"]
    legend = alt.Legend(orient="top", title=None, direction="vertical")  # the names leave no room
    base = alt.Chart(table).encode(
        y=alt.Y("template:N", sort=names, title=None, axis=LABELS),
        yOffset=alt.YOffset("which:N", sort=sides),
        color=alt.Color("which:N", scale=alt.Scale(domain=sides, range=["#D55E00", "#0072B2"]),
                        legend=legend),
    )  # fmt: skip
    x = alt.X("estimate:Q", title=unit or "estimate", scale=alt.Scale(zero=False))
    line = pd.DataFrame({"overall": [overall]})
    figure = alt.layer(
        *_references(null, None),
        alt.Chart(line).mark_rule(color="#009E73", strokeDash=[2, 2]).encode(x="overall:Q"),
        base.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q"),
        base.mark_point(filled=True, size=90, opacity=1).encode(
            x=x,
            shape=alt.Shape("which:N", legend=legend,
                            scale=alt.Scale(domain=sides, range=["diamond", "circle"])),
            tooltip=["template:N", "which:N", "verdict:N",
                     *(alt.Tooltip(f"{n}:Q", format=".4g") for n in ("estimate", "low", "high"))],
        ),
    ).properties(height=ROOM + 44 * len(names))  # fmt: skip
    alone = "" if found["lowest"] is None else (
        f"Alone they range from {found['lowest']:.4g} to {found['highest']:.4g}; all together "
        f"{overall:.4g}. "
    )  # fmt: skip
    return Chart(
        figure=figure,
        alt=f"{len(names)} templates, each alone and left out. {alone}"
        f"Dashed grey: without bias, {null:.4g}; dotted green: all templates.",
        table=table,
    )


def counts(found: Mapping[str, int]) -> Chart:
    """How many items each category has."""
    table = pd.DataFrame(list(found.items()), columns=["category", "items"])
    shown = table.head(MOST_ROWS).copy()
    shown["label"] = _labels(list(shown["category"]), ["" for _ in shown.index])
    base = alt.Chart(shown).encode(
        y=alt.Y("label:N", sort=list(shown["label"]), title=None, axis=LABELS),
        x=alt.X("items:Q", title="items", axis=alt.Axis(format="~s", tickMinStep=1, tickCount=8)),
    )
    bars = base.mark_bar(height=14, color="#0072B2").encode(tooltip=["label:N", "items:Q"])
    written = base.mark_text(align="left", dx=4, color=WRITING).encode(
        text=alt.Text("items:Q", format=",")
    )
    first = table.iloc[0]
    fewer = f" Drawn are the {len(shown)} largest." if len(shown) < len(table) else ""
    return Chart(
        figure=(bars + written).properties(height=80 + 26 * len(shown)),
        alt=f"Items in {len(table)} categories, {int(table['items'].sum()):,} in all; the largest "
        f"has {int(first['items']):,}: {show_plain(str(first['category']), 60)}.{fewer}",
        table=table.assign(category=[show_plain(str(one), 80) for one in table["category"]]),
    )
