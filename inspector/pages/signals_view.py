"""Signals through depth, silent units, and biases beside what they are added to."""

from typing import Any

import pandas as pd
import streamlit as st

from inspector.model.records import LayerActivations
from inspector.pages import frame
from inspector.pages.prompt_parts import downloads, rests_on
from inspector.report import charts_signals
from inspector.results import show_plain
from inspector.weights.stored_judgements import Kept

MOST_ROWS = 500


def show(kept: Kept | None) -> None:
    """What happens inside on the texts."""
    if kept is None:
        return
    records: list[LayerActivations] = list(kept)
    st.header("Signals and silent units")
    st.text(f"Measured on {kept.summary['texts']} texts of {kept.summary['tokens']:,} tokens.")
    st.subheader("Size through depth")
    st.write(
        "Root mean square of the stream that runs through the layers, and of what attention and "
        "MLP add to it. A stream that grows a lot makes later additions count for less."
    )
    frame.draw(charts_signals.sizes(records), "signal_sizes")
    _units(kept, records)
    _biases(kept)
    if kept.findings:
        st.header(f"Findings on signals ({len(kept.findings):d})")
        frame.findings_table(kept.findings, "signals_findings")
    rests_on(kept)
    downloads({"activations": kept})


def _units(kept: Kept, records: list[LayerActivations]) -> None:
    st.subheader("Silent units")
    st.text(show_plain(kept.summary["units"], 300))
    if not any(record.units for record in records):
        st.write("No layer's units can be told apart: see the findings.")
        return
    st.text(
        "A unit silent on all these tokens may still speak on up to "
        f"{kept.summary['silent_at_most']:.2%} of all (95 %, rule of three)."
    )
    if not any(getattr(record, field) for record in records for field in charts_signals.UNITS):
        st.write("No unit is dead, saturated or linear on every token.")
        return
    frame.draw(charts_signals.units(records), "signal_units")


def _biases(kept: Kept) -> None:
    found: list[dict[str, Any]] = kept.summary["biases"]
    st.subheader("Biases beside W x")
    if not found:
        st.write("This model has no biases that are added to something.")
        return
    st.write(
        "How large each bias is beside what it is added to on these texts (for a norm: the scaled "
        "values). 1: both weigh the same; near 0: the bias hardly matters."
    )
    frame.draw(charts_signals.bias_ratios(found), "bias_ratios")
    columns = {
        "name": "bias",
        "bias_rms": "size of b",
        "product_rms": "size of W x",
        "ratio": "b over W x",
        "larger_units": "outputs where b is larger",
    }
    table = pd.DataFrame(found).rename(columns=columns)[list(columns.values())]
    table["bias"] = table["bias"].map(show_plain)
    st.dataframe(
        table.head(MOST_ROWS),
        hide_index=True,
        key="bias_sizes",
        column_config=dict.fromkeys(list(columns.values())[1:4], frame.FOUR_DIGITS)
        | {columns["larger_units"]: st.column_config.NumberColumn(format="percent")},
        alt=f"{len(table)} biases beside what they are added to",
    )
