"""One number by layer and role, as a grid of colours."""

import altair as alt
import pandas as pd

from inspector.report.charts import Chart
from inspector.weights.makeup import OUTSIDE

ROLES = ("q", "k", "v", "o", "gate", "up", "down")  # in the order a signal meets them
MOST_WRITTEN = 16  # blocks; in a wider grid numbers do not fit into their cells
# Okabe & Ito 2008, those on which dark writing can be read.
READING_COLOURS = {
    "below 2": "#D55E00",
    "2 to 6": "#009E73",
    "above 6": "#CC79A7",
    "no verdict: it crosses a threshold": "#56B4E9",
    "noise": "#999999",
}


def role_order(table: pd.DataFrame) -> list[str]:
    """The roles of a table: those in blocks first, as a signal meets them, then the others."""
    block = list(dict.fromkeys(table.loc[table["block"] != OUTSIDE, "role"]))
    known = [role for role in ROLES if role in block]
    return list(dict.fromkeys([*known, *block, *table["role"]]))


def by_place(table: pd.DataFrame, value: str) -> pd.DataFrame:
    """The median of a number in each block and role, its range and how many matrices have it.

    `table` has block, role and the number; blocks and roles stay in the order they come in.
    """
    known = table.dropna(subset=[value])
    numbers = known[value].astype(float)
    groups = known.assign(**{value: numbers}).groupby(["block", "role"], sort=False)[value]
    return groups.agg(["median", "min", "max", "size"]).reset_index()


def grid(table: pd.DataFrame, value: str, title: str, form: str = ".3g") -> Chart:
    """The median of one number by block and role: the darker, the larger.

    `table` has one row per matrix: block, role and the number; `form` is how it is written.
    """
    places = by_place(table, value)
    blocks = list(dict.fromkeys(table["block"]))
    roles = role_order(table)
    low, high = (float(places["median"].agg(end)) for end in ("min", "max"))
    base = alt.Chart(places).encode(
        x=alt.X("block:N", sort=blocks, title="layer", axis=_AXIS), y=_roles(roles)
    )
    cells = base.mark_rect(stroke="white").encode(
        color=alt.Color("median:Q", scale=alt.Scale(scheme="blues"), title=title.split(","))
        if low < high
        else alt.value("#9ECAE1"),
        tooltip=_tips(title, form),
    )
    figure = cells
    if len(blocks) <= MOST_WRITTEN:
        written = base.mark_text(fontSize=11).encode(
            text=alt.Text("median:Q", format=form),
            color=alt.condition(
                f"datum.median > {(low + high) / 2}" if low < high else "false",
                alt.value("white"),
                alt.value("#111111"),
            ),
        )
        figure = cells + written
    return Chart(
        figure=figure.properties(height=40 + 26 * len(roles)),
        alt=_told(places, title, form) if len(places) else f"No matrix has this number: {title}.",
        table=places,
    )


def reading_grid(table: pd.DataFrame) -> Chart:
    """Alpha by block and role, coloured by what it says; columns block, role, alpha, reading."""
    known = table.dropna(subset=["alpha"])
    places = by_place(known, "alpha")
    agreed = known.groupby(["block", "role"], sort=False)["alpha_reading"].agg(_agreed)
    places = places.merge(agreed.rename("reading").reset_index(), on=["block", "role"])
    blocks = list(dict.fromkeys(table["block"]))
    roles = role_order(table)
    base = alt.Chart(places).encode(
        x=alt.X("block:N", sort=blocks, title="layer", axis=_AXIS), y=_roles(roles)
    )
    scale = alt.Scale(domain=list(READING_COLOURS), range=list(READING_COLOURS.values()))
    figure = base.mark_rect(stroke="white").encode(
        color=alt.Color(
            "reading:N",
            scale=scale,
            title=None,
            legend=alt.Legend(orient="top", labelLimit=300, columns=5),
        ),
        tooltip=[*_tips("alpha", ".3g"), alt.Tooltip("reading:N")],
    )
    if len(blocks) <= MOST_WRITTEN:
        figure = figure + base.mark_text(fontSize=11, color="#111111").encode(
            text=alt.Text("median:Q", format=".2f")
        )
    counts = known["alpha_reading"].value_counts()
    told = ", ".join(f"{reading} in {n}" for reading, n in counts.items())
    return Chart(
        figure=figure.properties(height=70 + 26 * len(roles)),
        alt=f"Alpha of {len(known)} matrices by layer and role; what it says: {told}.",
        table=places,
    )


def _agreed(readings: pd.Series) -> str:
    """What all matrices of a place say; where they differ there is no verdict."""
    distinct = set(readings)
    return str(distinct.pop()) if len(distinct) == 1 else "no verdict: it crosses a threshold"


_AXIS = alt.Axis(labelAngle=0, labelOverlap=True)


def _roles(roles: list[str]) -> alt.Y:
    return alt.Y("role:N", sort=roles, title=None)


def _tips(title: str, form: str) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("block:N", title="layer"),
        alt.Tooltip("role:N"),
        alt.Tooltip("median:Q", title=title, format=form),
        alt.Tooltip("min:Q", title="least", format=form),
        alt.Tooltip("max:Q", title="most", format=form),
        alt.Tooltip("size:Q", title="matrices"),
    ]


def _told(places: pd.DataFrame, title: str, form: str) -> str:
    most = places.loc[places["median"].idxmax()]
    least = places.loc[places["median"].idxmin()]

    def where(row: pd.Series) -> str:
        block = str(row["block"])
        place = f"in layer {block}" if block.isdigit() else f"in {block}"
        return f"{row['median']:{form}} ({row['role']} {place})"

    return (
        f"{title[:1].upper()}{title[1:]} by layer and role: from {where(least)} to {where(most)}."
    )
