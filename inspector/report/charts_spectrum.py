"""Spectra as figures: singular values beside those of noise, and how far alpha can be trusted."""

import math
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from jaxtyping import Float

from inspector.report.charts import Chart, log_axis
from inspector.weights import noise
from inspector.weights.spectrum import WELL_TRAINED, MatrixSpectrum

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#888888"
BINS = 80
LEAST = 1e-3  # of the largest eigenvalue: smaller ones are no tail
MOST_POINTS = 1500  # of a tail; more are thinned out where they crowd
HIGHEST_ALPHA = 30.0  # alpha of noise reaches further, where it means nothing
NOISE = "noise of this shape"
EDGE, BEYOND = "edge of noise", "counted as spikes beyond"


def alpha_by_layer(table: pd.DataFrame, role: str) -> Chart:
    """Alpha of one role by block: its interval, and the range that noise of that shape gives.

    Several matrices of one place (experts) stand for their medians. Log scale; the lines are
    WeightWatcher's thresholds.
    """
    columns = ["alpha", "alpha_low", "alpha_high", "alpha_noise", "alpha_noise_low"]
    columns.append("alpha_noise_high")
    known = table[table["role"] == role].dropna(subset=["alpha"])
    grouped = known.astype(dict.fromkeys(columns, float)).groupby("block", sort=False)
    places = grouped[columns].median()
    readings = grouped["alpha_reading"].agg(lambda r: r.iloc[0] if r.nunique() == 1 else "differ")
    places = places.assign(reading=readings, matrices=grouped.size()).reset_index()
    ends = places[columns].to_numpy().ravel()
    ends = np.append(ends[np.isfinite(ends)], [1.8, 7.0])
    domain = [max(float(ends.min()) * 0.95, 1.0), min(float(ends.max()) * 1.05, HIGHEST_ALPHA)]
    x = alt.X("block:N", sort=list(places["block"]), title="layer", axis=alt.Axis(labelAngle=0))
    scale = alt.Scale(type="log", domain=domain, nice=False)
    axis = alt.Axis(values=[1, 1.5, 2, 3, 4, 6, 8, 10, 15, 20, 30], format="~g")

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=scale, axis=axis, title="alpha, log scale")

    base = alt.Chart(places).encode(x=x, tooltip=_alpha_tips())
    band = base.mark_bar(color=GREY, opacity=0.35, size=34, clip=True).encode(
        y=y("alpha_noise_low"), y2="alpha_noise_high"
    )
    middle = base.mark_tick(color=GREY, thickness=2, size=34, clip=True).encode(y=y("alpha_noise"))
    interval = base.mark_rule(color=BLUE, strokeWidth=2, clip=True).encode(
        y=y("alpha_low"), y2="alpha_high"
    )
    point = base.mark_point(color=BLUE, filled=True, size=80, opacity=1).encode(y=y("alpha"))
    figure = (band + middle + _thresholds("y", scale) + interval + point).properties(height=300)
    decided = places["reading"].isin(("below 2", "2 to 6", "above 6")).sum()
    alt_text = (
        f"Alpha of role {role} by layer, {places['alpha'].min():.3g} to "
        f"{places['alpha'].max():.3g} (points), with bootstrap intervals (lines); grey: the range "
        f"that noise of the same shape gives, {places['alpha_noise_low'].min():.3g} to "
        f"{places['alpha_noise_high'].max():.3g}. A verdict stands in {decided} of {len(places)}."
        if len(places)
        else f"No matrix of role {role} has an alpha."
    )
    return Chart(figure=figure, alt=alt_text, table=places)


def _alpha_tips() -> list[alt.Tooltip]:
    fields = ("alpha", "alpha_low", "alpha_high", "alpha_noise_low", "alpha_noise_high")
    return [
        alt.Tooltip("block:N", title="layer"),
        *(alt.Tooltip(f"{field}:Q", format=".3g") for field in fields),
        alt.Tooltip("reading:N"),
        alt.Tooltip("matrices:Q"),
    ]


def _thresholds(along: str, scale: alt.Scale) -> Any:
    lines = alt.Chart(pd.DataFrame({"threshold": list(WELL_TRAINED)})).mark_rule(
        color=ORANGE, strokeDash=[5, 4]
    )
    if along == "y":
        return lines.encode(y=alt.Y("threshold:Q", scale=scale))
    return lines.encode(x=alt.X("threshold:Q", scale=scale))


def singular_values(singular: Float[np.ndarray, " rank"], record: MatrixSpectrum) -> Chart:
    """Histogram of singular values with what noise of that shape and standard deviation has."""
    top = max(float(singular[0]), record.mp_threshold or 0.0) * 1.02
    counts, edges = np.histogram(singular, bins=BINS, range=(0.0, top))
    limit = record.mp_threshold if record.mp_threshold is not None else math.inf
    table = pd.DataFrame({"from": edges[:-1], "to": edges[1:], "count": counts})
    table["which"] = np.where(edges[1:] > limit, "beyond noise", "within noise")
    expected = expected_counts(edges, record)
    table["noise"] = expected if expected is not None else None
    colours = alt.Scale(domain=["within noise", "beyond noise"], range=[BLUE, ORANGE])
    figure: alt.Chart | alt.LayerChart = (
        alt.Chart(table[table["count"] > 0])
        .mark_rect()
        .encode(
            x=alt.X("from:Q", title="singular value"),
            x2="to:Q",
            y=alt.Y("count:Q", title="how many"),
            y2=alt.datum(0),
            color=alt.Color("which:N", scale=colours, title=None, legend=_TOP),
            tooltip=[
                alt.Tooltip("from:Q", format=".4g"),
                alt.Tooltip("to:Q", format=".4g"),
                "count:Q",
                alt.Tooltip("noise:Q", format=".1f"),
            ],
        )
    )
    if expected is None or record.mp_edge is None:
        told = "; there are too few for a word about noise."
        return Chart(
            figure=figure.properties(height=280), alt=_values_told(singular) + told, table=table
        )
    middle = table.assign(value=(table["from"] + table["to"]) / 2)
    dash = alt.StrokeDash(
        "name:N",
        title=None,
        legend=_TOP,
        scale=alt.Scale(domain=[NOISE, EDGE, BEYOND], range=[[1, 0], [2, 3], [7, 4]]),
    )
    curve = (
        alt.Chart(middle.assign(name=NOISE))
        .mark_line(color="#111111", stroke=GREY, strokeWidth=2.5)
        .encode(x="value:Q", y="noise:Q", strokeDash=dash)
    )
    marks = pd.DataFrame(
        [[EDGE, record.mp_edge], [BEYOND, record.mp_threshold]],
        columns=["name", "value"],
    )
    rules = alt.Chart(marks).mark_rule(color=ORANGE, strokeWidth=1.5)
    rules = rules.encode(x="value:Q", strokeDash=dash, tooltip=["name:N", "value:Q"])
    told = (
        f"; noise of the same shape and standard deviation {record.noise_std:.3g} (line) ends at "
        f"{record.mp_edge:.4g}, and {record.mp_spikes} lie beyond {record.mp_threshold:.4g}, "
        "further than chance explains."
    )
    return Chart(
        figure=(figure + curve + rules).properties(height=280),
        alt=_values_told(singular) + told,
        table=table,
    )


_TOP = alt.Legend(orient="top", labelLimit=300)


def _values_told(singular: Float[np.ndarray, " rank"]) -> str:
    return (
        f"Histogram of {len(singular):,} singular values from {singular[-1]:.3g} to "
        f"{singular[0]:.4g}"
    )


def expected_counts(
    edges: Float[np.ndarray, " edges"], record: MatrixSpectrum
) -> Float[np.ndarray, " bins"] | None:
    """How many singular values noise has in each bin: Marchenko-Pastur, for the record's shape.

    None where the record has no standard deviation of noise.
    """
    if not record.noise_std:
        return None
    short, long = sorted((record.rows, record.columns))
    below = noise.bulk_distribution((edges / record.noise_std) ** 2 / long, short / long)
    counts: np.ndarray = short * np.diff(below)
    return counts


def tail(singular: Float[np.ndarray, " rank"], record: MatrixSpectrum) -> Chart:
    """Share of eigenvalues beyond each, on log scales, with the power law and with noise."""
    eigenvalues = np.square(singular[: record.rank])
    eigenvalues = eigenvalues[eigenvalues >= eigenvalues[0] * LEAST]
    shares = np.arange(1, len(eigenvalues) + 1) / len(singular)
    kept = _thinned(len(eigenvalues))
    table = pd.DataFrame({"eigenvalue": eigenvalues[kept], "share": shares[kept]})
    curves = (_law_line(record, eigenvalues, len(singular)), _noise_line(record, table))
    known = [curve for curve in curves if curve is not None]
    x = alt.X(
        "eigenvalue:Q",
        scale=alt.Scale(type="log", nice=False),
        axis=log_axis(float(eigenvalues[-1]), float(eigenvalues[0])),
        title="eigenvalue (singular value squared), log scale",
    )
    y = alt.Y(
        "share:Q",
        scale=alt.Scale(type="log", domain=[0.7 / len(singular), 1.0], nice=False),
        axis=log_axis(1 / len(singular), 1.0),
        title="share as large or larger, log scale",
    )
    points = (
        alt.Chart(table)
        .mark_point(filled=True, size=18, color=BLUE, opacity=0.8)
        .encode(
            x=x,
            y=y,
            tooltip=[
                alt.Tooltip("eigenvalue:Q", format=".4g"),
                alt.Tooltip("share:Q", format=".3g"),
            ],
        )
    )
    figure: Any = points
    if known:
        dashes = alt.Scale(domain=["power law", NOISE], range=[[7, 4], [1, 0]])
        colours = alt.Scale(domain=["power law", NOISE], range=[ORANGE, GREY])
        lines = alt.Chart(pd.concat(known, ignore_index=True))
        figure = points + lines.mark_line(clip=True, strokeWidth=2.5).encode(
            x=x,
            y=y,
            color=alt.Color("line:N", scale=colours, title=None, legend=_TOP),
            strokeDash=alt.StrokeDash("line:N", scale=dashes, title=None, legend=_TOP),
        )
    return Chart(figure=figure.properties(height=300), alt=_tail_told(record), table=table)


def _tail_told(record: MatrixSpectrum) -> str:
    if record.alpha is None:
        return "Eigenvalues on log scales; there are too few for a power law."
    against = f", noise of this shape {record.alpha_ks_noise:.2g}" if record.alpha_ks_noise else ""
    return (
        f"The largest {record.alpha_tail} of {record.rank} eigenvalues, those from "
        f"{record.alpha_xmin:.3g} on, follow a power law of exponent {record.alpha:.3g} "
        f"to within a KS distance of {record.alpha_ks:.2g}{against}. A straight line here would "
        "be a perfect power law. Eigenvalues below a thousandth of the largest are left out."
    )


def _thinned(count: int) -> np.ndarray:
    """Indices of at most MOST_POINTS points, evenly apart on a log scale of their rank."""
    spaced = np.geomspace(1, max(count, 1), MOST_POINTS).round().astype(int) - 1
    return np.unique(spaced[spaced < count]) if count > MOST_POINTS else np.arange(count)


def _law_line(record: MatrixSpectrum, eigenvalues: np.ndarray, count: int) -> pd.DataFrame | None:
    if record.alpha is None or record.alpha_xmin is None or record.alpha_tail is None:
        return None
    at = np.geomspace(record.alpha_xmin, eigenvalues[0], 50)
    share = record.alpha_tail / count * (at / record.alpha_xmin) ** (1 - record.alpha)
    return pd.DataFrame({"eigenvalue": at, "share": share, "line": "power law"})


def _noise_line(record: MatrixSpectrum, table: pd.DataFrame) -> pd.DataFrame | None:
    if not record.noise_std or record.mp_edge is None:
        return None
    short, long = sorted((record.rows, record.columns))
    lowest = record.noise_std**2 * (math.sqrt(long) - math.sqrt(short)) ** 2
    at = np.geomspace(max(lowest, record.mp_edge**2 * 1e-4), record.mp_edge**2, 200)
    share = 1 - noise.bulk_distribution(at / record.noise_std**2 / long, short / long)
    line = pd.DataFrame({"eigenvalue": at, "share": share, "line": NOISE})
    inside = (at >= table["eigenvalue"].min()) & (share >= table["share"].min() / 2)
    return line[inside]


def alpha_without_largest(record: MatrixSpectrum) -> Chart:
    """Alpha as it is, its interval, without the largest eigenvalues, and that of noise."""
    rows: list[tuple[str, float | None, float | None, float | None]] = [
        ("all eigenvalues", record.alpha, record.alpha_low, record.alpha_high),
        ("without the largest", record.alpha_drop_1, None, None),
        ("without the largest 2", record.alpha_drop_2, None, None),
        ("without the largest 5", record.alpha_drop_5, None, None),
        (NOISE, record.alpha_noise, record.alpha_noise_low, record.alpha_noise_high),
    ]
    table = pd.DataFrame(rows, columns=["of", "alpha", "low", "high"])
    table = table.astype({"alpha": float, "low": float, "high": float}).dropna(subset=["alpha"])
    ends = np.append(table[["alpha", "low", "high"]].to_numpy().ravel(), [1.8, 7.0])
    ends = ends[np.isfinite(ends)]
    domain = [float(ends.min()) * 0.95, min(float(ends.max()) * 1.05, HIGHEST_ALPHA)]
    scale = alt.Scale(type="log", domain=domain, nice=False)
    axis = alt.Axis(values=[1.5, 2, 3, 4, 6, 8, 10, 15, 20, 30], format="~g")
    x = alt.X("alpha:Q", scale=scale, axis=axis, title="alpha, log scale")
    order = list(table["of"])
    colour = alt.condition(f"datum.of == '{NOISE}'", alt.value(GREY), alt.value(BLUE))
    y = alt.Y("of:N", sort=order, title=None, axis=alt.Axis(labelLimit=200))
    base = alt.Chart(table).encode(y=y)
    lines = base.mark_rule(strokeWidth=2, clip=True).encode(
        x=alt.X("low:Q", scale=scale, axis=axis), x2="high:Q", color=colour
    )
    points = base.mark_point(filled=True, size=90, opacity=1, clip=True).encode(
        x=x, color=colour, tooltip=["of:N", alt.Tooltip("alpha:Q", format=".4g")]
    )
    told = "; ".join(f"{r.of} {r.alpha:.3g}" for r in table.itertuples())
    alt_text = f"Alpha: {told}. Dashed: WeightWatcher's thresholds 2 and 6."
    figure = (_thresholds("x", scale) + lines + points).properties(height=190)
    return Chart(figure=figure, alt=alt_text, table=table)
