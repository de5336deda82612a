"""Where a gap sits, as pictures: heads by layer, and parts as bars with intervals."""

from collections.abc import Sequence
from typing import Final

import altair as alt
import pandas as pd

from inspector.fairness.localize_records import Localised
from inspector.report.charts import Chart
from inspector.report.charts_bias import LABELS, ROOM, SHAPES
from inspector.results import show_plain

PICK: Final = "head"
MOST_WRITTEN: Final = 16  # heads side by side; in a wider map numbers do not fit into their cells
MOST_BARS: Final = 40
AGAINST, FOR, NEITHER = "#2166AC", "#B35806", "#F7F7F7"  # told apart by all; the sign says it again
WRITING: Final = "#888888"


def heads(records: Sequence[Localised], picked: tuple[int, int] | None = None) -> Chart:
    """The gap lost without each head, by layer and head; heads can be picked."""
    rows = [
        [r.layer, r.head, r.effect, r.low, r.high, r.slope, r.verdict, show_plain(r.name, 60)]
        for r in records
    ]
    columns = ["layer", "head", "effect", "low", "high", "slope", "verdict", "name"]
    table = pd.DataFrame(rows, columns=columns).sort_values(["layer", "head"])
    known = table["effect"].astype(float).dropna()
    largest = float(known.abs().max()) if len(known) else 1.0
    mark = ["◆ " if v == "bias detected" else "" for v in table["verdict"]]
    numbers = [f"{v:+.2g}" if pd.notna(v) else "" for v in table["effect"].astype(float)]
    table["written"] = [f"{m}{n}" for m, n in zip(mark, numbers, strict=True)]
    table["picked"] = [
        picked == (layer, head) for layer, head in zip(table["layer"], table["head"], strict=True)
    ]
    tips = [alt.Tooltip(f"{n}:Q", format=".4g") for n in ("effect", "low", "high", "slope")]
    base = alt.Chart(table).encode(
        x=alt.X("head:O", title="head", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
        y=alt.Y("layer:O", title="layer", sort="descending", axis=alt.Axis(labelOverlap=True)),
    )
    pick = alt.selection_point(name=PICK, fields=["layer", "head"], toggle=False)
    scale = alt.Scale(domain=[-largest, 0, largest], range=[AGAINST, NEITHER, FOR])
    figure = (
        base.mark_rect(stroke="white")
        .encode(
            color=alt.Color("effect:Q", scale=scale, title=["gap lost", "without it"]),
            strokeWidth=alt.condition("datum.picked", alt.value(4), alt.value(1)),
            stroke=alt.condition("datum.picked", alt.value("#111111"), alt.value("white")),
            tooltip=["name:N", "verdict:N", *tips],
        )
        .add_params(pick)
    )
    if table["head"].nunique() <= MOST_WRITTEN:
        deep = f"abs(datum.effect) > {0.6 * largest}"
        figure = figure + base.mark_text(fontSize=12).encode(
            text="written:N",
            color=alt.condition(deep, alt.value("white"), alt.value("#111111")),
        )
    return Chart(
        figure=figure.properties(height=80 + max(30 * table["layer"].nunique(), 90)),
        alt=_heads_in_words(table),
        table=table.drop(columns=["written", "picked"]),
    )


def _heads_in_words(table: pd.DataFrame) -> str:
    known = table.dropna(subset=["effect"])
    if known.empty:
        return f"Map of {len(table)} heads by layer; none of them was taken out."
    effects = known["effect"].astype(float)
    most = known.loc[effects.abs().idxmax()]
    held = int((known["verdict"] == "bias detected").sum())
    rest = len(table) - len(known)
    slopes = f" {rest} with small slopes were not taken out." if rest else ""
    return (
        f"Map of {len(table)} heads by layer: the gap lost without each, in nats. Most without "
        f"{most['name']}: {float(most['effect']):+.3g}. {held} stand out beyond chance (◆).{slopes}"
    )


def bars(records: Sequence[Localised], title: str) -> Chart:
    """What each part carries of the gap, with its interval, and what it does on the controls."""
    rows = [
        [show_plain(r.name, 70), r.effect, r.low, r.high, r.share, r.null_effect, r.null_low]
        + [r.null_high, r.p_adjusted, r.verdict]
        for r in records
        if r.effect is not None
    ]
    columns = ["part", "effect", "low", "high", "share", "control", "control low", "control high"]
    table = pd.DataFrame(rows, columns=[*columns, "p", "verdict"])
    largest = table["effect"].abs().sort_values(ascending=False).index[:MOST_BARS]
    shown = table.loc[sorted(largest)]
    verdicts = [name for name in SHAPES if name in set(shown["verdict"])]
    colours = [SHAPES[name][0] for name in verdicts]
    base = alt.Chart(shown).encode(
        y=alt.Y("part:N", sort=list(shown["part"]), title=None, axis=LABELS)
    )
    x = alt.X("effect:Q", title=title)
    drawn = base.mark_bar(height=12).encode(
        x=x,
        color=alt.Color(
            "verdict:N",
            scale=alt.Scale(domain=verdicts, range=colours),
            legend=alt.Legend(orient="top", title=None),
        ),
        tooltip=["part:N", "verdict:N",
                 *(alt.Tooltip(f"{n}:Q", format=".4g")
                   for n in ("effect", "low", "high", "share", "control", "p"))],
    )  # fmt: skip
    ranges = base.mark_rule(color="#777777", strokeWidth=2).encode(x="low:Q", x2="high:Q")
    controls = base.mark_tick(color="#56B4E9", thickness=3, size=20).encode(x="control:Q")
    text = base.mark_text(
        color=WRITING,
        dy=-12,
        align=alt.expr("datum.effect < 0 ? 'right' : 'left'"),
    ).encode(x=x, text=alt.Text("effect:Q", format="+.3g"))
    figure = (drawn + ranges + controls + text).properties(height=ROOM + 34 * len(shown))
    return Chart(figure=figure, alt=_bars_in_words(table, shown), table=table)


def _bars_in_words(table: pd.DataFrame, shown: pd.DataFrame) -> str:
    if table.empty:
        return "No part has a number: nothing could be carried to any of them."
    most = table.loc[table["effect"].abs().idxmax()]
    held = int((table["verdict"] == "bias detected").sum())
    fewer = "" if len(shown) == len(table) else f" Drawn are the {len(shown)} largest."
    share = "" if pd.isna(most["share"]) else f", {most['share']:.0%} of the whole gap"
    return (
        f"{len(table)} parts with intervals over targets, in nats; {held} beyond chance. Most: "
        f"{most['part']} with {most['effect']:+.3g}{share}. Blue ticks: the same on controls, "
        f"where nothing should be.{fewer}"
    )
