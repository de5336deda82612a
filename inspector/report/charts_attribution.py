"""Scores of words as pictures: on the text itself, as bars, and layer by layer."""

import unicodedata
from collections.abc import Sequence

import altair as alt
import pandas as pd

from inspector.model.records import LayerScore, TokenScore
from inspector.report.attribution_words import side_by_side, signed, visible
from inspector.report.charts import Chart
from inspector.results import show_plain
from inspector.weights.makeup import block_label

PICK = "unit"
LINE = 76  # characters in a line of tokens
MOST_UNITS = 300  # units of a text that are drawn at once
MOST_BARS = 40
MOST_COLUMNS = 60  # units side by side in a grid
LEGEND = 65  # pixels below or above a picture
NAMES = 100  # pixels of names that stand aslant
MOST_WRITTEN = 240  # cells of a grid that hold numbers
COLOURS = ["#4393C3", "#F7F7F7", "#E08214"]  # below zero, zero, above: black can be read on all
DOUBTFUL = ["#C3CDD4", "#F2F2F2", "#D9CFC3"]  # the same, of scores that should not be read
SAYS = {
    "speaks for it": COLOURS[2],
    "speaks against it": COLOURS[0],
    "lost when it alone is replaced": "#009E73",
}
UPRIGHT = alt.Axis(labelLimit=220, labelOverlap=False)
ASLANT = alt.Axis(labelAngle=-40, labelLimit=140, labelOverlap=False)
Units = Sequence[TokenScore]


def _scale(limit: float, doubt: str | None) -> alt.Scale:
    return alt.Scale(domain=[-limit, 0, limit], range=DOUBTFUL if doubt else COLOURS)


def _limit(values: "pd.Series[float]") -> float:
    return float(values.abs().max()) if len(values) and values.abs().max() > 0 else 1.0


def _warned(figure: alt.LayerChart, doubt: str | None) -> alt.LayerChart:
    """The figure, with what speaks against it written above it."""
    if doubt is None:
        return figure
    title = alt.TitleParams(text=doubt, anchor="start", color="#D55E00", fontSize=14)
    return figure.properties(title=title)


def _title_height(doubt: str | None) -> int:
    return 34 if doubt is None else 66  # pixels that a figure's frame and title take of its height


def _wide(text: str) -> int:
    """Columns that a text takes where all letters are equally wide."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def laid_out(units: Units, largest: float) -> pd.DataFrame:
    """Each unit with its place in lines of LINE characters, as a text would be set."""
    rows, line, begin = [], 0, 0
    for unit in units:
        text = visible(unit.text) or show_plain(unit.token, 24)
        score = side_by_side(unit.score, largest)
        width = min(max(_wide(text), len(score)) + 2, LINE)
        if begin and begin + width > LINE:
            line, begin = line + 1, 0
        end = begin + width
        rows.append([unit.position, text, unit.score, score, line, begin, end - 0.4])
        begin = end
    table = pd.DataFrame(
        rows, columns=["position", "text", "score", "signed", "line", "begin", "end"]
    )
    return table.assign(
        middle=(table["begin"] + table["end"]) / 2,
        top=table["line"] + 0.04,
        half=table["line"] + 0.5,
        bottom=table["line"] + 0.96,
    )


def tokens(units: Units, doubt: str | None = None, limit: float | None = None) -> Chart:
    """The text with each unit's signed score below it; `doubt` says why not to read it.

    `limit` is the score at which colours end, the largest shown where it is None.
    """
    limit = limit or _limit(pd.Series([unit.score for unit in units], dtype=float))
    table = laid_out(units, limit)
    lines = int(table["line"].max()) + 1 if len(table) else 1
    base = alt.Chart(table)
    across = alt.Scale(domain=[0, LINE], nice=False)
    down = alt.Scale(domain=[0, lines], nice=False, reverse=True)
    boxes = base.mark_rect(cornerRadius=3, stroke="#888888", strokeWidth=0.5).encode(
        x=alt.X("begin:Q", scale=across, axis=None),
        x2="end:Q",
        y=alt.Y("top:Q", scale=down, axis=None),
        y2="bottom:Q",
        color=alt.Color(
            "score:Q",
            scale=_scale(limit, doubt),
            legend=None,  # each box has its number
        ),
        tooltip=["text:N", "position:Q", alt.Tooltip("score:Q", format=".4g")],
    )
    # letters shrink with the picture, so that boxes hold them on small screens too
    written = base.encode(x=alt.X("middle:Q", scale=across), y=alt.Y("half:Q", scale=down))
    words = written.mark_text(
        font="monospace", fontSize=alt.ExprRef("min(15, width / 48)"), dy=-8, color="#111111"
    ).encode(text="text:N")
    scores = written.mark_text(
        font="monospace", fontSize=alt.ExprRef("min(12, width / 56)"), dy=10, color="#111111"
    ).encode(text="signed:N")
    figure = (boxes + words + scores).properties(height=48 * lines + _title_height(doubt))
    return Chart(
        figure=_warned(figure, doubt),
        alt=_doubted(_tokens_in_words(units), doubt),
        table=table[["position", "text", "score"]],
    )


def _doubted(told: str, doubt: str | None) -> str:
    return f"{doubt[:1].upper()}{doubt[1:]}. {told}" if doubt else told


def _tokens_in_words(units: Units) -> str:
    if not units:
        return "No unit of the text has a score."
    ranked = sorted(units, key=lambda unit: -abs(unit.score))[:3]
    largest = ", ".join(f"{visible(u.text)} {signed(u.score)}" for u in ranked)
    return (
        f"The text with the score of each of {len(units)} units in nats, orange and plus for what "
        f"speaks for the answer, blue and minus against it. The largest: {largest}."
    )


def bars(units: Units, doubt: str | None = None) -> Chart:
    """Scores as bars, beside what F loses when each unit alone is replaced; bars can be picked."""
    chosen = {u.position for u in sorted(units, key=lambda u: -abs(u.score))[:MOST_BARS]}
    shown = [unit for unit in units if unit.position in chosen]
    rows = [
        [u.position, f"{u.position} {visible(u.text)}", u.score, u.removal, _says(u.score)]
        for u in shown
    ]
    table = pd.DataFrame(rows, columns=["position", "unit", "score", "removal", "says"])
    table["removal"] = table["removal"].astype(float)
    alone = table.dropna(subset=["removal"]).assign(says=list(SAYS)[2])
    colour = alt.Color(
        "says:N",
        scale=alt.Scale(domain=list(SAYS), range=list(SAYS.values())),
        title=None,
        legend=alt.Legend(orient="top", labelLimit=300),
    )
    y = alt.Y("unit:N", sort=list(table["unit"]), title=None, axis=UPRIGHT)
    pick = alt.selection_point(name=PICK, fields=["position"], toggle=False)
    drawn = (
        alt.Chart(table)
        .mark_bar(opacity=0.4 if doubt else 1.0)
        .encode(
            x=alt.X("score:Q", title="nats"),
            y=y,
            color=colour,
            stroke=alt.condition(pick, alt.value("#D55E00"), alt.value(None), empty=False),
            tooltip=[
                "unit:N",
                *(alt.Tooltip(f"{f}:Q", format=".4g") for f in ("score", "removal")),
            ],
        )
        .add_params(pick)
    )
    points = (
        alt.Chart(alone)
        .mark_point(shape="diamond", filled=True, size=70, opacity=1)
        .encode(x=alt.X("removal:Q"), y=y, color=colour, tooltip=["unit:N", _exactly("removal")])
    )
    zero = alt.Chart(pd.DataFrame({"zero": [0]})).mark_rule(color="#888888").encode(x="zero:Q")
    figure = (drawn + zero + points).properties(
        height=LEGEND + 60 + 24 * max(len(table), 1) + _title_height(doubt)
    )
    return Chart(
        figure=_warned(figure, doubt),
        alt=_doubted(_bars_in_words(units, shown), doubt),
        table=table[["position", "unit", "score", "removal"]],
    )


def _exactly(field: str) -> alt.Tooltip:
    return alt.Tooltip(f"{field}:Q", format=".4g")


def _says(score: float) -> str:
    return list(SAYS)[0 if score >= 0 else 1]


def _bars_in_words(units: Units, shown: Units) -> str:
    which = f"{len(shown)} units" if len(shown) == len(units) else (
        f"the {len(shown)} largest of {len(units)} units"
    )  # fmt: skip
    against = sum(unit.score < 0 for unit in shown)
    beside = " Diamonds: what F loses when each alone is replaced." if any(
        unit.removal is not None for unit in shown
    ) else ""  # fmt: skip
    return (
        f"Bars of the scores of {which} in the order of the text, {len(shown) - against} for the "
        f"answer and {against} against it.{beside}"
    )


def by_layer(records: Sequence[LayerScore], first: int = 0) -> Chart:
    """Layer by unit: what of F(x) - F(x') passes there; `first` is where the window begins."""
    order = list(dict.fromkeys(r.position for r in records if r.position >= 0 or r.score))
    window = order[first : first + MOST_COLUMNS]
    names = {r.position: _column(r.position, r.text) for r in records}
    rows = [
        [block_label(r.stack or None, r.layer), names[r.position], r.score]
        for r in records
        if r.position in window
    ]
    table = pd.DataFrame(rows, columns=["layer", "unit", "score"])
    layers = list(dict.fromkeys(table["layer"]))
    base = alt.Chart(table).encode(
        x=alt.X(
            "unit:N",
            sort=[names[p] for p in window],
            title=None,
            axis=ASLANT,
        ),
        y=alt.Y("layer:N", sort=layers[::-1], title="layer", axis=UPRIGHT),
        tooltip=["layer:N", "unit:N", _exactly("score")],
    )
    limit = _limit(pd.Series([record.score for record in records], dtype=float))
    figure = cells(base, "score", limit, "score, nats", len(table))
    most = max(records, key=lambda r: abs(r.score), default=None)
    part = f", units {first + 1} to {first + len(window)} of {len(order)}" if (
        len(window) < len(order)
    ) else ""  # fmt: skip
    told = (
        ""
        if most is None
        else f" The largest is {signed(most.score)} at {names[most.position]} in layer "
        f"{block_label(most.stack or None, most.layer)}."
    )
    return Chart(
        figure=figure.properties(height=LEGEND + NAMES + 28 * len(layers)),
        alt=f"What passes through each of {len(layers)} layers at each unit{part}, in nats.{told}",
        table=table,
    )


def _column(position: int, text: str) -> str:
    return "(elsewhere)" if position < 0 else f"{position} {visible(text, 16)}"


def cells(
    base: alt.Chart, field: str, limit: float, title: str, count: int, form: str = ".2f"
) -> alt.LayerChart:
    """A grid of signed numbers as colours, written out where there is room."""
    drawn = base.mark_rect(stroke="#FFFFFF", strokeWidth=0.5).encode(
        color=alt.Color(
            f"{field}:Q",
            scale=_scale(limit, None),
            title=title,
            legend=alt.Legend(orient="top", gradientLength=200, format=".3g", titleLimit=400),
        )
    )
    written = base.mark_text(fontSize=11, color="#111111").encode(
        text=alt.Text(f"{field}:Q", format=form)
    )
    return alt.LayerChart(layer=[drawn, written] if count <= MOST_WRITTEN else [drawn])
