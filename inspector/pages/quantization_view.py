"""Quantisation of a model and of one tensor: rounding errors by format, beside a Gaussian's."""

import pandas as pd
import streamlit as st

from inspector.pages import frame, views, waiting
from inspector.report import charts_grid, charts_quantization
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.quantization import ONE_BIT, QuantizedMatrix
from inspector.weights.stored_judgements import Kept

USUAL = "int4-g128"  # the format most checkpoints are offered in
COLUMNS = {
    "name": "tensor",
    "sqnr_db": "SQNR, dB",
    "sqnr_noise_db": "a Gaussian, dB",
    "db_lost": "lost, dB",
    "relative_error": "relative error",
    "max_error": "largest error",
}
WIDTHS = {
    "bits": st.column_config.NumberColumn(format="%.3f"),
    "relative error": st.column_config.NumberColumn(format="percent"),
    **dict.fromkeys(
        ("SQNR, dB", "a Gaussian, dB", "lost, dB"), st.column_config.NumberColumn(format="%.1f")
    ),
}


def summary(checkpoint: Checkpoint) -> None:
    """The view of a whole model."""
    st.markdown(
        "**What it is.** Quantising rounds every weight to one of few values, 16 of them in 4 "
        "bits. SQNR is the size of the weights over that of the rounding error in decibels: 20 dB "
        "means an error of a tenth, and 6 dB more halve it.  \n"
        "**What a Gaussian gives.** Each format has its own error on normal numbers; the dB lost "
        "against that are the fault of this model's values, mostly of a few outliers that stretch "
        "the scale they share with others.  \n"
        "**What to do.** Where 6 dB or more are lost a whole bit is wasted: choose smaller groups "
        "or keep that matrix in more bits. Then run the quantised model on your task, for only "
        "that tells what it costs."
    )
    kept = waiting.judged(checkpoint, "quantize")
    if kept is None:
        return
    formats = _formats(kept)
    if formats.empty:
        st.info("There is no matrix with values other than zero.")
        views.end(checkpoint, kept)
        return
    st.header("Formats")
    frame.draw(charts_quantization.decibels(formats, "this model"), "formats")
    shown = formats.rename(columns={"relative_error": "relative error", "lost": "lost, dB"})
    shown = shown.rename(columns={"sqnr_db": "SQNR, dB", "sqnr_noise_db": "a Gaussian, dB"})
    st.dataframe(
        shown,
        hide_index=True,
        key="format_table",
        column_config=WIDTHS,
        alt=f"Rounding errors of {len(shown)} formats",
    )
    st.caption(
        "Bits count the scales that are stored beside the values. SQNR and dB lost: means over "
        "all weights; relative error: of all weights as one vector. Round to nearest; methods "
        "that look at data do better."
    )
    st.header("By layer and role")
    names = list(formats["format"])
    chosen = st.selectbox(
        "Format", names, index=names.index(USUAL) if USUAL in names else 0, key="quantize_format"
    )
    table = views.placed(checkpoint, kept)
    table = table[table["format"] == chosen].astype({"db_lost": float, "sqnr_db": float})
    rounded = table.assign(db_lost=table["db_lost"].round(1) + 0.0)  # no -0.0
    frame.draw(charts_grid.grid(rounded, "db_lost", "dB lost to outliers", ".1f"), "quantize_grid")
    st.caption(f"A Gaussian loses 0; {ONE_BIT:.1f} dB are one bit.")
    st.header("Every matrix")
    order = table.sort_values("db_lost", ascending=False, kind="stable")
    told = f"Rounding errors of {len(table)} matrices"
    views.open_row(order, COLUMNS, "Quantisation", "quantized", told, ("relative_error",))
    st.caption("In the format chosen above, those that lose most first. A row opens the tensor.")
    views.end(checkpoint, kept)
    views.more()


def _formats(kept: Kept) -> pd.DataFrame:
    rows = [
        [
            one["format"],
            one["bits_per_weight"],
            one["sqnr_db_weighted"],
            None
            if one["sqnr_db_weighted"] is None or one["db_lost_weighted"] is None
            else one["sqnr_db_weighted"] + one["db_lost_weighted"],
            one["db_lost_weighted"],
            one["relative_error"],
        ]
        for one in kept.summary["formats"]
    ]
    columns = ["format", "bits", "sqnr_db", "sqnr_noise_db", "lost", "relative_error"]
    numbers = dict.fromkeys(columns[1:], float)
    return pd.DataFrame(rows, columns=columns).astype(numbers)


def tensor(checkpoint: Checkpoint, name: str) -> None:
    """The view of one tensor."""
    found = views.of_tensor(checkpoint, "quantize", name)
    if found is None:
        return
    first: QuantizedMatrix | None = views.piece(found, "quantize_piece")
    if first is None:
        return
    records = [record for record in found.records if record.name == first.name]
    st.markdown(
        "Each format rounds to its own few values. Bars: how far this matrix stands above its "
        "rounding error; marks: where normal numbers of the same shape would stand. A bar that "
        "ends short of its mark loses to outliers; one beyond it rounds better than chance."
    )
    st.header("Formats")
    _worst(records)
    table = pd.DataFrame(
        [
            [
                r.format,
                r.bits_per_weight,
                r.sqnr_db,
                r.sqnr_noise_db,
                r.db_lost,
                r.relative_error,
                r.max_error,
                r.max_error_row,
                r.max_error_column,
                r.clipped,
            ]
            for r in records
        ],
        columns=[
            *("format", "bits", "sqnr_db", "sqnr_noise_db", "lost", "relative_error"),
            *("largest error", "in row", "in column", "out of range"),
        ],
    )
    numbers = ("bits", "sqnr_db", "sqnr_noise_db", "lost", "relative_error")
    table = table.astype(dict.fromkeys(numbers, float))
    frame.draw(charts_quantization.decibels(table, "this matrix"), "formats")
    shown = table.rename(columns={"sqnr_db": "SQNR, dB", "sqnr_noise_db": "a Gaussian, dB"})
    st.dataframe(
        shown.rename(columns={"lost": "lost, dB", "relative_error": "relative error"}),
        hide_index=True,
        key="format_table",
        column_config=WIDTHS | {"largest error": frame.FOUR_DIGITS},
        alt=f"Rounding errors of {len(shown)} formats",
    )
    st.caption("Without SQNR: rounding changes nothing. Row and column: where it errs most.")
    views.more()


def _worst(records: list[QuantizedMatrix]) -> None:
    known = [r for r in records if r.db_lost is not None]
    if not known:
        return
    worst = max(known, key=lambda r: r.db_lost or 0.0)
    lost = worst.db_lost or 0.0
    if lost >= ONE_BIT:
        st.warning(
            f"Outliers cost {lost:.1f} dB in the worst of the formats: more than a bit. Smaller "
            "groups, or more bits for this matrix, get it back."
        )
    else:
        st.info(f"No format loses a bit to outliers: at most {lost:.1f} dB.")
