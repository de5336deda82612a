"""What a model loses without each of its parts, as bars."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from inspector.model.records import Ablation
from inspector.report.charts import Chart
from inspector.report.prompt_words import COMPONENT_WORDS, EFFECT_WORDS

MOST_OF_A_KIND = 12  # bars; of more the largest are drawn
COLOURS = {  # Okabe & Ito 2008
    "biases": "#E69F00",
    "whole layers": "#0072B2",
    "attentions": "#56B4E9",
    "MLPs": "#009E73",
    "heads": "#CC79A7",
}


def effect_table(records: Sequence[Ablation], field: str) -> pd.DataFrame:
    """One row a part with this effect, in the order of COMPONENT_WORDS and of depth."""
    order = list(COMPONENT_WORDS)
    rows = [
        [COMPONENT_WORDS[r.component], r.name, getattr(r, field), *_range(r, field), r.kept]
        for r in sorted(records, key=lambda r: order.index(r.component))
        if getattr(r, field) is not None
    ]
    return pd.DataFrame(rows, columns=["kind", "part", "change", "low", "high", "kept"])


def bars(records: Sequence[Ablation], field: str) -> Chart:
    """What changes without each part; of many parts of a kind those with the largest change."""
    table = effect_table(records, field)
    largest = table["change"].abs().groupby(table["kind"]).rank(ascending=False, method="first")
    shown = table[largest <= MOST_OF_A_KIND]
    kinds = [kind for kind in COLOURS if kind in set(shown["kind"])]
    title = f"change of {EFFECT_WORDS[field].title} without it, nats"
    base = alt.Chart(shown).encode(
        y=alt.Y("part:N", sort=list(shown["part"]), title=None, axis=_EVERY),
    )
    x = alt.X("change:Q", title=title)
    drawn = base.mark_bar().encode(
        x=x,
        color=alt.Color(
            "kind:N",
            scale=alt.Scale(domain=kinds, range=[COLOURS[kind] for kind in kinds]),
            title=None,
            legend=alt.Legend(orient="top"),
        ),
        tooltip=[
            "part:N",
            "kind:N",
            alt.Tooltip("change:Q", format=".4g"),
            alt.Tooltip("kept:Q", title="answer stays", format=".0%"),
        ],
    )
    span = float(shown["change"].abs().max()) or 1.0
    text = base.mark_text(
        color="#888888",
        align=alt.expr("datum.change < 0 ? 'right' : 'left'"),
        dx=alt.expr("datum.change < 0 ? -4 : 4"),
    ).encode(x=x, text=alt.Text("change:Q", format="+.3g" if span >= 1e-3 else "+.1e"))
    ranged = shown.dropna(subset=["low", "high"])
    figure = drawn + text
    if len(ranged):
        figure = figure + alt.Chart(ranged).mark_rule(color="#444444").encode(
            y=alt.Y("part:N", sort=list(shown["part"])), x="low:Q", x2="high:Q"
        )
    return Chart(
        figure=figure.properties(height=80 + 22 * len(shown)),
        alt=_in_words(table, shown, field),
        table=table,
    )


_EVERY = alt.Axis(labelLimit=260, labelOverlap=False)


def _range(record: Ablation, field: str) -> list[float | None]:
    return [getattr(record, f"{field}_{end}") for end in ("low", "high")]


def _in_words(table: pd.DataFrame, shown: pd.DataFrame, field: str) -> str:
    parts = []
    for kind, group in table.groupby("kind", sort=False):
        most = group.loc[group["change"].abs().idxmax()]
        parts.append(f"of {len(group)} {kind} {most['change']:+.3g} ({most['part']})")
    fewer = "" if len(shown) == len(table) else f" Drawn are the {len(shown)} largest."
    return (
        f"Largest change of {EFFECT_WORDS[field].title} in nats without a part: "
        f"{'; '.join(parts)}.{fewer}"
    )
