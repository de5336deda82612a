"""Spectra of a model and of one tensor, every number beside what noise of that shape gives."""

import pandas as pd
import streamlit as st

from inspector.pages import frame, views, waiting
from inspector.report import charts_grid, charts_spectrum
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.spectrum import NOISE, MatrixSpectrum
from inspector.weights.stored_judgements import Kept

ALPHA = "what alpha says"
MEASURES = {  # label -> (column, title, format)
    "stable rank, share of noise's": ("stable_share", "stable rank over that of noise", ".2f"),
    "spikes above noise": ("mp_spikes", "singular values beyond noise", ".0f"),
    "energy of the spikes": ("spike_share", "share of the energy in spikes", ".0%"),
    "distance from noise": ("times_noise", "distance from a noise spectrum, noise = 1", ".3g"),
}
COLUMNS = {
    "name": "tensor",
    "verdict": "verdict",
    "mp_spikes": "spikes",
    "alpha": "alpha",
    "alpha_low": "from",
    "alpha_high": "to",
    "alpha_reading": "alpha says",
}


def summary(checkpoint: Checkpoint) -> None:
    """The view of a whole model."""
    st.markdown(
        "**What it is.** A matrix turns and stretches; its singular values say how much it "
        "stretches along each of its own directions. Training leaves a few directions that "
        "stand out (*spikes*) and bends the whole distribution.  \n"
        "**What noise gives.** A matrix of random numbers has no spikes, a stable rank of "
        "a quarter of its shorter side when it is square, and a large, meaningless alpha. "
        "Each number here stands beside that of noise of exactly its shape.  \n"
        "**What to do.** Look first at matrices called *indistinguishable from noise*: they were "
        "not trained, or training did not reach them. Take alpha as a hint at most, and not at "
        "all where it says *no verdict*."
    )
    kept = waiting.judged(checkpoint, "spectrum")
    if kept is None:
        return
    verdicts, readings = kept.summary["verdicts"], kept.summary["alpha_readings"]
    frame.metrics(
        {
            "matrices": str(kept.summary["matrices"]),
            "structured": str(verdicts.get("structured", 0)),
            "spikes above noise": str(verdicts.get("spikes above noise", 0)),
            "indistinguishable from noise": str(verdicts.get("indistinguishable from noise", 0)),
            "alpha without verdict": str(
                readings.get("no verdict: it crosses a threshold", 0)
                + readings.get("noise", 0)
            ),
        }
    )  # fmt: skip
    table = _table(checkpoint, kept)
    if table.empty:
        st.info("There is no matrix whose spectrum could be measured.")
        views.end(checkpoint, kept)
        return
    st.header("By layer and role")
    measure = st.selectbox("Measure", [ALPHA, *MEASURES], key="spectrum_measure")
    if measure == ALPHA:
        frame.draw(charts_grid.reading_grid(table), "spectrum_grid")
        st.caption(
            "Alpha counts as decided only if its interval, and what is left of it without the "
            "largest 1, 2 and 5 eigenvalues, lie on one side of WeightWatcher's thresholds 2 and 6."
        )
    else:
        column, title, form = MEASURES[measure]
        frame.draw(charts_grid.grid(table, column, title, form), "spectrum_grid")
    st.header("Alpha by layer")
    roles = charts_grid.role_order(table)
    role = st.selectbox("Role", roles, key="spectrum_role")
    frame.draw(charts_spectrum.alpha_by_layer(table, role), "alpha_by_layer")
    st.header("By role")
    _roles(kept, roles)
    st.header("Every matrix")
    order = table.sort_values("times_noise", kind="stable", na_position="last")
    views.open_row(order, COLUMNS, "Spectrum", "spectra", f"Spectra of {len(table)} matrices")
    st.caption(
        "Those most like noise first; medians over experts stand in the grids, each matrix here. "
        "“from” and “to”: bootstrap interval of alpha. A row opens the tensor."
    )
    views.end(checkpoint, kept)
    views.more()


def _table(checkpoint: Checkpoint, kept: Kept) -> pd.DataFrame:
    table = views.placed(checkpoint, kept)
    numbers = table[["stable_rank", "stable_rank_noise", "snr", "mp_distance"]].astype(float)
    table["stable_share"] = numbers["stable_rank"] / numbers["stable_rank_noise"]
    table["spike_share"] = numbers["snr"] / (1 + numbers["snr"])
    table["times_noise"] = numbers["mp_distance"] / table["mp_distance_noise"].astype(float)
    return table


def _roles(kept: Kept, order: list[str]) -> None:
    rows = [
        [
            role["role"],
            role["matrices"],
            role["spikes"],
            role["stable_rank_share"],
            role["stable_rank_share_noise"],
            role["alpha"],
            role["alpha_noise"],
        ]
        for role in sorted(kept.summary["roles"], key=lambda one: order.index(one["role"]))
    ]
    columns = ["role", "matrices", "spikes", "stable rank / side", "of noise"]
    table = pd.DataFrame(rows, columns=[*columns, "alpha", "alpha of noise"])
    percent = st.column_config.NumberColumn(format="percent")
    four = dict.fromkeys(("alpha", "alpha of noise"), frame.FOUR_DIGITS)
    st.dataframe(
        table,
        hide_index=True,
        key="spectrum_roles",
        column_config={"stable rank / side": percent, "of noise": percent, **four},
        alt=f"Medians of spectral measures of {len(rows)} roles",
    )
    st.caption("Medians. Noise has no spikes.")


def tensor(checkpoint: Checkpoint, name: str) -> None:
    """The view of one tensor."""
    found = views.of_tensor(checkpoint, "spectrum", name)
    if found is None:
        return
    record: MatrixSpectrum | None = views.piece(found, "spectrum_piece")
    if record is None:
        return
    _headline(record)
    st.text(_verdict(record))
    frame.metrics(_numbers(record))
    singular = found.arrays.get(record.name)
    if singular is not None and singular[0] > 0:
        st.header("Singular values")
        st.markdown(
            "How much the matrix stretches along each of its own directions. Bars beyond the edge "
            "of noise are structure that training, or a special initialisation, put there; where "
            "bars follow the line there is nothing but noise."
        )
        frame.draw(charts_spectrum.singular_values(singular, record), "singular_values")
        st.header("Tail of the eigenvalues")
        st.markdown(
            "Martin & Mahoney read the slope of this tail, **alpha**, as a measure of training: "
            "from 2 to 6 well trained, above under-trained, below over-trained. That is a rule of "
            "thumb from many models, not a law; it holds nothing where points do not lie on a line."
        )
        frame.draw(charts_spectrum.tail(singular, record), "tail")
    if record.alpha is not None:
        st.header("How far alpha can be trusted")
        _reading(record)
        frame.draw(charts_spectrum.alpha_without_largest(record), "alpha_drops")
    if not found.heads:
        st.caption("Heads of a tensor this large: `inspector spectrum --heads` measures them.")
    views.more()


def _headline(record: MatrixSpectrum) -> None:
    if record.verdict == NOISE:
        st.header("Indistinguishable from noise")
    elif record.verdict == "spikes above noise":
        st.header("Spikes above noise")
    elif record.verdict == "structured":
        st.header("Structured")
    elif record.verdict == "all zero":
        st.header("All zero")
    else:
        st.header("Too small to tell")


def _verdict(record: MatrixSpectrum) -> str:
    size = f"{record.rows} x {record.columns}"
    if record.verdict == "all zero":
        return "Every value is zero: the matrix does nothing."
    if record.mp_spikes is None or record.mp_distance is None or record.mp_distance_noise is None:
        return f"{size}: too few singular values to tell structure from noise."
    away = record.mp_distance / record.mp_distance_noise
    spikes = "no singular value lies" if not record.mp_spikes else (
        "one singular value lies" if record.mp_spikes == 1 else
        f"{record.mp_spikes} singular values lie"
    )  # fmt: skip
    energy = f", with {record.snr / (1 + record.snr):.1%} of the energy" if record.snr else ""
    return (
        f"{show_plain(record.name, 200)}, {size}: {spikes} beyond what noise reaches{energy}; the "
        f"spectrum as a whole is {away:.3g} times as far from that of noise as noise itself gets "
        "on average."
    )


def _numbers(record: MatrixSpectrum) -> dict[str, str]:
    """Each number with that of noise of the same shape behind it."""

    def pair(value: float | None, of_noise: float | None) -> str:
        if value is None:
            return "none"
        return frame.number(value) + (
            f" ({frame.number(of_noise)})" if of_noise is not None else ""
        )

    return {
        "largest singular value (noise)": pair(record.spectral_norm, record.spectral_norm_noise),
        "stable rank (noise)": pair(record.stable_rank, record.stable_rank_noise),
        "effective rank (noise)": pair(record.effective_rank, record.effective_rank_noise),
        "spikes (noise)": pair(record.mp_spikes, 0.0 if record.mp_spikes is not None else None),
        "rank of shorter side": f"{record.rank} of {min(record.rows, record.columns)}",
    }


def _reading(record: MatrixSpectrum) -> None:
    if record.alpha_reading == "noise":
        st.info("The spectrum is that of noise: alpha is a number about chance, and says nothing.")
    elif record.alpha_reading in ("below 2", "2 to 6", "above 6"):
        st.markdown(
            "Its interval, and what is left of it without the largest eigenvalues, lie on one side "
            "of the thresholds 2 and 6: it can be read."
        )
    else:
        st.warning(
            "No verdict: alpha crosses a threshold of 2 or 6 within its interval, or when a few "
            "of the largest eigenvalues are left out. One number would say more than is known."
        )
