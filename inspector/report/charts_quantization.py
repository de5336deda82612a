"""Quantisation as figures: signal to rounding noise in each format, beside a Gaussian's."""

import altair as alt
import pandas as pd

from inspector.report.charts import Chart

BLUE, ORANGE = "#0072B2", "#D55E00"
GAUSSIAN = "a Gaussian of the same shape"


def decibels(table: pd.DataFrame, of: str) -> Chart:
    """Bars of SQNR by format, most bits first, with a mark where a Gaussian stands.

    `table` has format, bits, sqnr_db and sqnr_noise_db; without a number: the error is zero.
    """
    shown = table.dropna(subset=["sqnr_db"]).sort_values("bits", ascending=False, kind="stable")
    order = list(shown["format"])
    base = alt.Chart(shown).encode(y=alt.Y("format:N", sort=order, title=None))
    tips = [
        "format:N",
        alt.Tooltip("bits:Q", format=".4g"),
        alt.Tooltip("sqnr_db:Q", format=".1f"),
        alt.Tooltip("sqnr_noise_db:Q", format=".1f"),
    ]
    colours = alt.Scale(domain=[of, GAUSSIAN], range=[BLUE, ORANGE])
    legend = alt.Legend(orient="top", labelLimit=300)
    bars = (
        base.transform_calculate(which=f"'{of}'")
        .mark_bar(height=12)
        .encode(
            x=alt.X("sqnr_db:Q", title="signal to rounding noise, dB (more is better)"),
            color=alt.Color("which:N", scale=colours, title=None, legend=legend),
            tooltip=tips,
        )
    )
    marks = (
        base.transform_calculate(which=f"'{GAUSSIAN}'")
        .mark_tick(thickness=3, height=18, opacity=1)
        .encode(
            x=alt.X("sqnr_noise_db:Q"),
            color=alt.Color("which:N", scale=colours, title=None, legend=legend),
            tooltip=tips,
        )
    )
    exact = len(table) - len(shown)
    more = f"; rounding changes nothing in {exact} more" if exact else ""
    alt_text = (
        f"Signal to rounding noise of {len(shown)} formats in dB: {_told(shown)}{more}."
        if len(shown)
        else "Rounding changes nothing in any format."
    )
    figure = (bars + marks).properties(height=60 + 24 * len(shown))
    return Chart(figure=figure, alt=alt_text, table=table)


def _told(shown: pd.DataFrame) -> str:
    known = shown.dropna(subset=["sqnr_noise_db"])
    if not len(known):
        return f"from {shown['sqnr_db'].min():.1f} to {shown['sqnr_db'].max():.1f}"
    lost = known["sqnr_noise_db"] - known["sqnr_db"]
    worst = known.loc[lost.idxmax()]
    return (
        f"from {shown['sqnr_db'].min():.1f} to {shown['sqnr_db'].max():.1f}; most is lost against "
        f"a Gaussian in {worst['format']}, {worst['sqnr_db']:.1f} against "
        f"{worst['sqnr_noise_db']:.1f}"
    )
