"""Attention as pictures: every head beside uniform attention, one head's map, heads by kind."""

from collections.abc import Sequence
from html import escape
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from inspector.model.records import HeadAttention
from inspector.report.charts import Chart
from inspector.report.prompt_words import KIND_MARKS, MAP_WORDS, METRIC_WORDS
from inspector.results import show_plain
from inspector.weights.makeup import block_label

PICK = "cell"
MOST_WRITTEN = 400  # cells; in a larger grid numbers do not fit
MOST_CELLS = 5000  # marks a browser carries well
MOST_SIDE = 200  # tokens along a side of a map
MOST_NAMED = 60  # tokens whose names fit along a side
BELOW_ABOVE = ["#2166AC", "#92C5DE", "#F7F7F7", "#FDB863", "#B35806"]
SHADES = ["#F7FBFF", "#DEEBF7", "#9ECAE1", "#3182BD", "#08306B"]
Heads = Sequence[HeadAttention]


def block_of(head: HeadAttention) -> str:
    """The layer of a head in words: 3, or decoder 3."""
    return block_label(head.stack or None, head.layer)


def spoken(block: str) -> str:
    """A block inside a sentence: layer 3, or decoder layer 3."""
    stack, _, layer = block.rpartition(" ")
    return f"{stack} layer {layer}".strip()


def known_metrics(heads: Heads) -> list[str]:
    """The metrics that at least one head has."""
    return [m for m in METRIC_WORDS if any(getattr(head, m) is not None for head in heads)]


def metric_table(heads: Heads, metric: str) -> pd.DataFrame:
    """One row a head: its number, range and null, and how far it is from the null."""
    fields = (metric, f"{metric}_low", f"{metric}_high", f"{metric}_null")
    rows = [[block_of(h), h.head, h.label, *(getattr(h, f) for f in fields)] for h in heads]
    table = pd.DataFrame(rows, columns=["block", "head", "label", "value", "low", "high", "null"])
    numbers = ["value", "low", "high", "null"]
    table[numbers] = table[numbers].astype(float)
    table["difference"] = table["value"] - table["null"]
    return table


def grid(heads: Heads, metric: str, signed: bool = True) -> Chart:
    """Layer by head, cells that can be picked; `signed` colours by the distance from the null."""
    table = metric_table(heads, metric)
    field = "difference" if signed else "value"
    known = table[field].dropna()
    limit = float(known.abs().max()) if len(known) and known.abs().max() > 0 else 1.0
    if signed:
        scale = alt.Scale(domain=list(np.linspace(-limit, limit, 5)), range=BELOW_ABOVE)
        dark = f"abs(datum.difference) > {0.7 * limit}"
    else:
        scale = alt.Scale(domain=[0, limit], range=SHADES)
        dark = f"datum.value > {0.6 * limit}"
    title = "above or below uniform" if signed else METRIC_WORDS[metric].title
    base = _cells(table)
    tips = [
        alt.Tooltip("block:N", title="layer"),
        "head:O",
        *(alt.Tooltip(f"{name}:Q", format=".4g") for name in ("value", "null", "difference")),
    ]
    pick = alt.selection_point(name=PICK, fields=["block", "head"], toggle=False)
    drawn = base.mark_rect(cornerRadius=2, strokeWidth=3).encode(
        color=alt.Color(f"{field}:Q", scale=scale, title=title.split(","), legend=_legend()),
        stroke=_picked(pick),
        tooltip=tips,
    )
    figure = drawn.add_params(pick)
    if len(table) <= MOST_WRITTEN:
        form = ".2f" if table["value"].abs().max() < 100 else ".3g"
        figure = figure + base.mark_text(fontSize=11).encode(
            text=alt.Text("value:Q", format=form),
            color=alt.condition(dark, alt.value("white"), alt.value("#111111")),
        )
    return Chart(
        figure=figure.properties(height=_height(table)),
        alt=_grid_in_words(table, metric),
        table=table.drop(columns="label"),
    )


def kinds(heads: Heads) -> Chart:
    """Layer by head, the kind of each as a letter and a colour; cells can be picked."""
    table = pd.DataFrame(
        [[block_of(h), h.head, h.label, KIND_MARKS[h.label][0], h.label_p] for h in heads],
        columns=["block", "head", "kind", "letter", "p"],
    )
    present = [kind for kind in KIND_MARKS if kind in set(table["kind"])]
    base = _cells(table)
    pick = alt.selection_point(name=PICK, fields=["block", "head"], toggle=False)
    scale = alt.Scale(domain=present, range=[KIND_MARKS[kind][1] for kind in present])
    drawn = base.mark_rect(cornerRadius=2, strokeWidth=3).encode(
        color=alt.Color("kind:N", scale=scale, title=None, legend=alt.Legend(orient="top")),
        stroke=_picked(pick),
        tooltip=[
            alt.Tooltip("block:N", title="layer"),
            "head:O",
            "kind:N",
            alt.Tooltip("p:Q", format=".2g", title="p, corrected"),
        ],
    )
    figure = drawn.add_params(pick)
    if len(table) <= MOST_CELLS // 2:
        is_unclear = alt.datum.kind == "unclear"
        figure = figure + base.mark_text(fontSize=12, fontWeight="bold").encode(
            text="letter:N",
            color=alt.when(is_unclear).then(alt.value("#888888")).otherwise(alt.value("#111111")),
        )
    counts = table["kind"].value_counts()
    told = ", ".join(f"{counts[kind]} {kind}" for kind in present)
    return Chart(
        figure=figure.properties(height=50 + _height(table)),
        alt=f"Kinds of {len(table)} heads by layer and head: {told}.",
        table=table.drop(columns="letter"),
    )


def ranges(head: HeadAttention) -> Chart:
    """All metrics of one head that are shares: its number with its range, and the null beside."""
    rows = [
        [words.title, *(getattr(head, f"{name}{end}") for end in ("", "_low", "_high", "_null"))]
        for name, words in METRIC_WORDS.items()
        if words.unit not in ("nats", "tokens") and getattr(head, name) is not None
    ]
    table = pd.DataFrame(rows, columns=["metric", "value", "low", "high", "null"])
    table[["value", "low", "high", "null"]] = table[["value", "low", "high", "null"]].astype(float)
    order = list(table["metric"])
    base = alt.Chart(table).encode(y=alt.Y("metric:N", sort=order, title=None, axis=_LONG))
    x = alt.X("value:Q", title="share", scale=alt.Scale(domain=[0, 1]))
    tips = [
        "metric:N",
        *(alt.Tooltip(f"{f}:Q", format=".4g") for f in ("value", "low", "high", "null")),
    ]
    spans = base.mark_rule(color="#0072B2", strokeWidth=4, opacity=0.5).encode(
        x=alt.X("low:Q", title="share"), x2="high:Q"
    )
    dots = base.mark_point(filled=True, size=80, color="#0072B2", opacity=1).encode(
        x=x, tooltip=tips
    )
    nulls = base.mark_tick(color="#D55E00", thickness=3, size=18).encode(x="null:Q", tooltip=tips)
    told = "; ".join(f"{r.metric} {r.value:.2f} (uniform {r.null:.2f})" for r in table.itertuples())
    return Chart(
        figure=(spans + nulls + dots).properties(height=40 + 26 * len(table)),
        alt=f"Of {spoken(block_of(head))}, head {head.head}, dots with ranges beside what uniform "
        f"attention gives (orange marks): {told}.",
        table=table,
    )


def without_first(rows: np.ndarray) -> np.ndarray:
    """Attention [queries, keys] without the first token, each row scaled to sum 1 again."""
    left = rows.copy()
    left[..., 0] = 0
    total = left.sum(-1, keepdims=True)
    return np.asarray(np.divide(left, total, out=np.zeros_like(left), where=total > 0))


def token_map(
    rows: np.ndarray, tokens: Sequence[str], way: str, first: tuple[int, int] = (0, 0)
) -> Chart:
    """Queries by keys as colours; of a longer text the MOST_SIDE tokens from `first` on."""
    queries, keys = (slice(begin, begin + MOST_SIDE) for begin in first)
    shown = np.asarray(rows[queries, keys], dtype=np.float32)
    down, along = (range(rows.shape[i])[part] for i, part in enumerate((queries, keys)))
    plain = [show_plain(token, 24) for token in tokens]
    safe = [escape(token, quote=False) for token in plain]  # Plotly reads tags as HTML
    hover = [[f"{safe[q]} ({q}) at {safe[k]} ({k})" for k in along] for q in down]
    figure = go.Figure(
        go.Heatmap(
            z=shown,
            x=list(along),
            y=list(down),
            zmin=0,
            zmax=float(shown.max()) or 1.0,
            colorscale=SHADES,
            customdata=hover,
            hovertemplate="%{customdata}: %{z:.4g}<extra></extra>",
            xgap=1 if len(along) <= MOST_NAMED else 0,
            ygap=1 if len(down) <= MOST_NAMED else 0,
        )
    )
    figure.update_yaxes(autorange="reversed", **_named("looks", plain, down))
    figure.update_xaxes(tickangle=-60, side="bottom", **_named("at", plain, along))
    figure.update_layout(
        height=int(np.clip(160 + 22 * len(down), 300, 800)),
        margin={"l": 90, "r": 10, "t": 10, "b": 90},
    )
    table = pd.DataFrame(shown, columns=[f"{k}: {plain[k]}" for k in along])
    table.insert(0, "looks", [f"{q}: {plain[q]}" for q in down])
    return Chart(figure=figure, alt=_map_in_words(shown, plain, way, down, along), table=table)


def token_bars(values: np.ndarray, tokens: Sequence[str], way: str) -> Chart:
    """One number for each token of a text, in its order."""
    names = [f"{i}: {show_plain(token, 24)}" for i, token in enumerate(tokens)][:MOST_SIDE]
    table = pd.DataFrame({"token": names, "value": values[:MOST_SIDE].astype(float)})
    words = MAP_WORDS[way]
    figure = (
        alt.Chart(table)
        .mark_bar(color="#0072B2")
        .encode(
            x=alt.X("token:N", sort=names, title=None, axis=alt.Axis(labelAngle=-60)),
            y=alt.Y("value:Q", title=words.unit),
            tooltip=["token:N", alt.Tooltip("value:Q", format=".4g")],
        )
        .properties(height=260)
    )
    most = table.loc[table["value"].idxmax()]
    return Chart(
        figure=figure,
        alt=f"{words.title.capitalize()} by token, {len(table)} tokens; the most, "
        f"{most['value']:.3g}, from {most['token']}.",
        table=table,
    )


def effect(table: pd.DataFrame, metric: str, rank: float | None) -> Chart:
    """How far a head is from uniform attention against what it does to the answer.

    `table` has block, head, difference and change (nats); `rank` is Spearman's of their sizes.
    """
    title = METRIC_WORDS[metric].title
    shown = table.assign(distance=table["difference"].abs(), size=table["change"].abs())
    figure = (
        alt.Chart(shown)
        .mark_point(filled=True, size=70, opacity=0.8, color="#0072B2")
        .encode(
            x=alt.X("distance:Q", title=f"{title}: distance from uniform attention"),
            y=alt.Y("size:Q", title="change of the answer, nats"),
            tooltip=[
                alt.Tooltip("block:N", title="layer"),
                "head:O",
                alt.Tooltip("difference:Q", format=".3g"),
                alt.Tooltip("change:Q", format=".3g"),
            ],
        )
        .properties(height=260)
    )
    told = "no rank correlation, one of both is constant" if rank is None else f"{rank:.2f}"
    least = 1.96 / max(len(table) - 1, 1) ** 0.5
    return Chart(
        figure=figure,
        alt=f"{len(table)} heads: distance from uniform attention ({title}) against the size of "
        f"what switching each off does. Rank correlation {told}; unrelated numbers stay within "
        f"±{least:.2f} in 19 of 20 cases.",
        table=table,
    )


_LONG = alt.Axis(labelLimit=260)


def _legend() -> alt.Legend:
    return alt.Legend(format=".2g", tickCount=4)


def _picked(pick: alt.Parameter) -> Any:
    return alt.when(pick, empty=False).then(alt.value("#D55E00")).otherwise(alt.value(None))


def _cells(table: pd.DataFrame) -> alt.Chart:
    blocks = list(dict.fromkeys(table["block"]))
    return alt.Chart(table).encode(
        x=alt.X("head:O", title="head", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
        y=alt.Y("block:N", sort=blocks, title="layer", axis=alt.Axis(labelOverlap=True)),
    )


def _height(table: pd.DataFrame) -> int:
    return min(90 + 26 * int(table["block"].nunique()), 1100)


def _grid_in_words(table: pd.DataFrame, metric: str) -> str:
    title = METRIC_WORDS[metric].title.capitalize()
    known = table.dropna(subset=["value"])
    if known.empty:
        return f"{title}: no head has it."

    def told(row: "pd.Series[Any]") -> str:
        null = f", uniform {row['null']:.3g}" if np.isfinite(row["null"]) else ""
        return f"{row['value']:.3g} ({spoken(str(row['block']))}, head {row['head']}{null})"

    ends = (known.loc[known["value"].idxmin()], known.loc[known["value"].idxmax()])
    return f"{title} of {len(known)} heads: from " + " to ".join(map(told, ends)) + "."


def _named(what: str, plain: Sequence[str], places: range) -> dict[str, Any]:
    """Names of tokens along an axis, where there is room; Plotly reads tags in them as HTML."""
    if len(places) > MOST_NAMED:
        return {"title": f"{what}, position"}
    return {
        "title": what,
        "tickvals": list(places),
        "ticktext": [escape(plain[i][:16], quote=False) or " " for i in places],
        "showgrid": False,
    }


def _map_in_words(
    shown: np.ndarray, plain: Sequence[str], way: str, down: range, along: range
) -> str:
    begin = int(down.start == 0 and len(down) > 1)  # the first token often sees itself alone
    at = np.unravel_index(np.argmax(shown[begin:]), shown[begin:].shape)
    query, key = down[begin + int(at[0])], along[int(at[1])]
    size = f"{len(down)} by {len(along)} tokens"
    return (
        f"Map, {MAP_WORDS[way].title}, {size}: the largest, {shown[begin:][at]:.3g}, is from token "
        f"{query} ({plain[query]}) at token {key} ({plain[key]})."
    )
