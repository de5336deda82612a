"""The values of one tensor: how they are spread, by row and column, and against its peers."""

import pandas as pd
import streamlit as st

from inspector.pages import frame, waiting
from inspector.report import charts
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.statistics import TensorStatistics
from inspector.weights.tensor import TensorView, peers


def tensor(checkpoint: Checkpoint, name: str) -> None:
    """The view of one tensor."""
    view = waiting.viewed(checkpoint, name)
    record = view.statistics

    shown = {
        "mean": record.mean,
        "std": record.std,
        "rms": record.rms,
        "largest": record.abs_max,
        "excess kurtosis": record.kurtosis,
        "bits per value": record.entropy_bits,
    }
    frame.metrics({label: "none" if v is None else frame.number(v) for label, v in shown.items()})
    if view.findings:
        frame.findings_table(view.findings, "tensor_findings")

    st.header("Distribution")
    if view.histogram is None:
        st.write("There is no finite value to show.")
    else:
        log = st.toggle("Log axis", value=True, key="log", bind="query-params")
        frame.draw(charts.histogram(view.histogram, record, log), "histogram")
    _rows_and_columns(checkpoint, view)
    if view.picture is not None:
        st.header("Picture")
        frame.draw(charts.picture(view.picture), "picture")
    if view.profile is not None:
        st.header("Largest values")
        st.dataframe(
            pd.DataFrame(
                [[o.row, o.column, o.value, o.sigmas] for o in view.profile.outliers],
                columns=["row", "column", "value", "standard deviations from the mean"],
            ),  # fmt: skip
            hide_index=True,
            key="outliers",
            alt="The values of largest magnitude and where they are",
        )
    _peers(checkpoint, name)
    _record(record)


def _rows_and_columns(checkpoint: Checkpoint, view: TensorView) -> None:
    placement = checkpoint.architecture.placements[view.entry.name]
    if view.profile is None:
        st.caption("Not shown by row and column: " + (frame.why_no_profile(view.entry) or ""))
    else:
        rows, columns = st.tabs(
            ["Rows (outputs)", "Columns (inputs)"]
            if placement.orientation == "out_in"
            else ["Rows", "Columns"]
        )
        with rows:
            frame.draw(charts.profile(view.profile.rows, "row"), "rows")
        with columns:
            frame.draw(charts.profile(view.profile.columns, "column"), "columns")


def _peers(checkpoint: Checkpoint, name: str) -> None:
    placement = checkpoint.architecture.placements[name]
    st.header("Same role, all layers")
    scan = waiting.scanned(checkpoint)
    family = peers(checkpoint, name)
    if len(family) == 1:
        st.write("No other tensor has this role.")
    elif placement.layer is None:
        st.write("The tensors of this role stand in no layer.")
    elif scan is not None:
        measure = st.selectbox(
            "Measure",
            ["rms", "std", "mean", "abs_max", "kurtosis", "skewness", "entropy_bits"],
            key="measure",
        )
        by_name = {r.name: r for r in scan.records}
        frame.draw(
            charts.peers([by_name[n] for n in family if n in by_name], name, measure), "peers"
        )


def _record(record: TensorStatistics) -> None:
    st.header("Every statistic")
    fields = [[name, "" if value is None else str(value)] for name, value in vars(record).items()]
    st.dataframe(
        pd.DataFrame([[n, show_plain(v, 300)] for n, v in fields], columns=["field", "value"]),
        hide_index=True,
        key="record",
        alt="All fields of the record",
    )
    st.caption("Exact: every value of the tensor was counted; over its finite values.")
