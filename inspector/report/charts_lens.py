"""What a model would answer after each layer, as pictures."""

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

from inspector.model.records import LensPoint
from inspector.report.charts import Chart
from inspector.results import show_plain

PICK = "cell"
MOST_PLACES = 14  # positions side by side whose words can be read
MOST_ROWS = 48  # layers whose cells have room for two lines
SHADES = ["#F7FBFF", "#DEEBF7", "#9ECAE1", "#3182BD", "#08306B"]
COLOURS = {  # field of a LensPoint -> what its colour says
    "probability": "probability of the word in the cell",
    "answer_probability": "probability of the final answer",
    "entropy": "entropy, nats",
    "divergence": "KL from the final prediction, nats",
}
AGREES = "✓"
Points = Sequence[LensPoint]


def place(point: LensPoint) -> str:
    """A position in words: 3: nurse; of a classifier, which has none, the whole text."""
    if point.position is None:
        return "whole text"
    return f"{point.position}: {show_plain(point.text or '', 16)}"


def places(points: Points) -> list[str]:
    """Every position, in the order of the text."""
    return list(dict.fromkeys(place(point) for point in points))


def lens_table(points: Points) -> pd.DataFrame:
    """One row for each layer and position."""
    rows = [
        [
            point.name,
            place(point),
            show_plain(point.token, 40),
            point.probability,
            show_plain(point.answer, 40),
            point.answer_probability,
            point.answer_rank,
            point.entropy,
            point.divergence,
            point.agrees,
        ]
        for point in points
    ]
    columns = ["layer", "place", "token", "probability", "answer", "answer_probability"]
    return pd.DataFrame(rows, columns=[*columns, "answer_rank", "entropy", "divergence", "agrees"])


def grid(points: Points, shown: Sequence[str], colour: str = "probability") -> Chart:
    """Layer by position, the word found likeliest in each cell; cells can be picked.

    `shown` are the places to draw, at most MOST_PLACES; `colour` is a key of COLOURS.
    """
    table = lens_table(points)
    table = table[table["place"].isin(shown)]
    layers = list(dict.fromkeys(table["layer"]))[::-1]
    tall = len(layers) <= MOST_ROWS
    marks = np.where(table["agrees"], f"{AGREES} ", "")
    words = marks + table["token"].str.slice(0, 11)
    numbers = table[colour].map(lambda value: f"{value:.2f}")
    table = table.assign(word=words + ("\n" + numbers if tall else ""))
    high = 1.0 if "probability" in colour else float(table[colour].max()) or 1.0
    base = alt.Chart(table).encode(
        x=alt.X("place:N", sort=list(shown), title="token", axis=_WORDS),
        y=alt.Y("layer:N", sort=layers, title=None, axis=alt.Axis(labelOverlap=True)),
    )
    pick = alt.selection_point(name=PICK, fields=["layer", "place"], toggle=False)
    scale = alt.Scale(domain=list(np.linspace(0, high, 5).tolist()), range=SHADES)
    cells = base.mark_rect(cornerRadius=2, strokeWidth=3).encode(
        color=alt.Color(
            f"{colour}:Q",
            scale=scale,
            title=None,
            legend=alt.Legend(format=".2g", tickCount=4),
        ),
        stroke=alt.when(pick, empty=False).then(alt.value("#D55E00")).otherwise(alt.value(None)),
        tooltip=[
            "layer:N",
            alt.Tooltip("place:N", title="at"),
            alt.Tooltip("token:N", title="would say"),
            alt.Tooltip("probability:Q", format=".4g"),
            alt.Tooltip("answer:N", title="final answer"),
            alt.Tooltip("answer_probability:Q", title="its probability", format=".4g"),
            alt.Tooltip("entropy:Q", format=".4g"),
            alt.Tooltip("divergence:Q", title="KL from final", format=".4g"),
        ],
    )
    text = base.mark_text(fontSize=11, lineBreak="\n", dy=-6 if tall else 0).encode(
        text="word:N",
        color=alt.condition(
            f"datum.{colour} > {0.6 * high}", alt.value("white"), alt.value("#111111")
        ),
    )
    figure = (cells.add_params(pick) + text).properties(
        height=90 + (34 if tall else 20) * len(layers)
    )
    return Chart(figure=figure, alt=_grid_in_words(table, layers), table=table.drop(columns="word"))


def top(point: LensPoint) -> Chart:
    """The likeliest words at one layer and position, and what is left to all others."""
    names = [f"{i}. {show_plain(word, 30)}" for i, word in enumerate(point.tokens, 1)]
    rest = max(0.0, 1 - sum(point.probabilities))
    table = pd.DataFrame(
        {
            "word": [*names, "all others"],
            "probability": [*point.probabilities, rest],
            "sort": [*("one word" for _ in names), "all others"],
        }
    )
    base = alt.Chart(table).encode(y=alt.Y("word:N", sort=list(table["word"]), title=None))
    x = alt.X("probability:Q", title="probability", scale=alt.Scale(domain=[0, 1]))
    bars = base.mark_bar().encode(
        x=x,
        color=alt.Color(
            "sort:N",
            scale=alt.Scale(domain=["one word", "all others"], range=["#0072B2", "#999999"]),
            legend=None,
        ),
        tooltip=["word:N", alt.Tooltip("probability:Q", format=".4g")],
    )
    text = base.mark_text(align="left", dx=4, color="#888888").encode(
        x=x, text=alt.Text("probability:Q", format=".3~g")
    )
    told = ", ".join(
        f"{show_plain(word, 30)} {p:.3g}"
        for word, p in zip(point.tokens, point.probabilities, strict=True)
    )
    return Chart(
        figure=(bars + text).properties(height=30 + 28 * len(table)),
        alt=f"Likeliest after {point.name}: {told}; all others {rest:.3g}.",
        table=table.drop(columns="sort"),
    )


def depth(points: Points) -> Chart:
    """One position through the layers: probability of the final answer and of the likeliest."""
    table = lens_table(points)
    layers = list(table["layer"])
    long = table.rename(
        columns={"answer_probability": "final answer", "probability": "likeliest here"}
    ).melt(["layer", "token"], ["final answer", "likeliest here"], "of", "probability_of")
    figure = (
        alt.Chart(long)
        .mark_line(point=True)
        .encode(
            x=alt.X("layer:N", sort=layers, title=None, axis=alt.Axis(labelAngle=-40)),
            y=alt.Y("probability_of:Q", title="probability", scale=alt.Scale(domain=[0, 1])),
            color=alt.Color(
                "of:N",
                title=None,
                scale=alt.Scale(
                    domain=["final answer", "likeliest here"], range=["#0072B2", "#E69F00"]
                ),
                legend=alt.Legend(orient="top"),
            ),
            strokeDash=alt.StrokeDash("of:N", title=None),
            shape=alt.Shape("of:N", title=None),
            tooltip=["layer:N", "of:N", "token:N", alt.Tooltip("probability_of:Q", format=".4g")],
        )
        .properties(height=240)
    )
    answer, chances = table["answer"].iloc[-1], table["answer_probability"]
    return Chart(
        figure=figure,
        alt=f"Probability of the final answer ({answer}) at {table['place'].iloc[-1]} through "
        f"{len(layers)} steps: from {chances.iloc[0]:.3f} to {chances.iloc[-1]:.3f}.",
        table=table.drop(columns="place"),
    )


_WORDS = alt.Axis(labelAngle=-40, labelLimit=160, orient="bottom")


def _grid_in_words(table: pd.DataFrame, layers: list[str]) -> str:
    shares = table.groupby("layer", sort=False)["agrees"].mean()
    told = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    if len(shares) > 12:
        told = f"{shares.index[0]} {shares.iloc[0]:.0%} to {shares.index[-1]} {shares.iloc[-1]:.0%}"
    return (
        f"Likeliest word after each of {len(layers)} steps at {table['place'].nunique()} "
        f"positions; where it is the final answer already: {told} of the positions."
    )
