"""What a model is made of: its parameters, census and dtypes, layer by layer."""

import pandas as pd
import streamlit as st

from inspector.pages import frame, waiting
from inspector.report import charts
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.makeup import Makeup, block_label, makeup
from inspector.weights.scan import Scan


def summary(checkpoint: Checkpoint) -> None:
    """The view of a whole model."""
    facts = makeup(checkpoint)
    frame.metrics(
        {
            "parameters": frame.short(facts.parameters),
            "in weights": f"{facts.share('weight') + facts.share('embedding'):.1%}",
            "in biases": f"{facts.share('bias'):.2%}",
            "layers": str(facts.layers),
            "tensors": f"{len(checkpoint.tensors):,}",
            "bytes": f"{frame.short(facts.bytes)}B",
        }
    )

    scan = waiting.scanned(checkpoint)
    _layers(facts)
    if scan is not None:
        _depth(scan)
        _census(scan)
        _stand_outs(scan)
        frame.coverage(scan)
    st.header("Stored as")
    frame.draw(charts.dtype_grid(facts.dtypes), "dtype_grid")

    findings = scan.findings if scan else (*checkpoint.findings, *checkpoint.architecture.findings)
    st.header(f"Findings ({len(findings)})")
    if findings:
        frame.findings_table(findings, "summary_findings")
    else:
        st.write("None.")
    _config(checkpoint)


def _layers(facts: Makeup) -> None:
    st.header("Layers")
    frame.draw(charts.parameters_by_layer(facts.table), "parameters_by_layer")
    layers = list(dict.fromkeys(facts.table["layer"]))
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    chosen = left.selectbox(
        "Layer", layers, key="summary_layer", help="Outside: embeddings, final norm, head."
    )
    if right.button("Its tensors", key="to_tensors", width="stretch"):
        frame.go("tensors", layer=str(chosen))


def _depth(scan: Scan) -> None:
    census = pd.DataFrame(scan.summary["census"])
    st.header("Weights and biases by depth")
    depth = census[(census["by"] == "layer and kind") & census["layer"].notna()]
    frame.draw(
        charts.size_by_depth(depth[["stack", "layer", "kind", "rms", "std", "mean"]]),
        "size_by_depth",
    )


def _census(scan: Scan) -> None:
    census = pd.DataFrame(scan.summary["census"])
    st.header("Census")
    by = (
        st.segmented_control("By", ["kind", "role", "layer"], default="kind", key="census_by")
        or "kind"
    )
    rows = census[census["by"].isin([by, "model"])]
    if by == "layer":
        rows = rows.assign(layer=list(map(block_label, rows["stack"], rows["layer"])))
    rows = rows.assign(**{by: rows[by].where(rows["by"] != "model", "all")})
    numbers = ["mean", "std", "rms", "min", "max", "kurtosis", "q01", "q50", "q99"]
    counts = ["parameters", "tensors", "zeros", "nan", "inf"]
    rows = rows[[by, "share", *counts, *numbers, "quantile_error"]].astype({by: str})
    st.dataframe(
        rows,
        hide_index=True,
        key="census",
        column_config={
            "share": st.column_config.NumberColumn(format="percent"),
            "parameters": st.column_config.NumberColumn(format="localized"),
            **dict.fromkeys((*numbers, "quantile_error"), frame.FOUR_DIGITS),
        },
        alt="Census of parameters",
    )
    st.caption(
        "Moments, extremes and counts are exact. Quantiles are exact up to 16-bit dtypes; with "
        "wider ones each lies within quantile_error of the truth."
    )


def _stand_outs(scan: Scan) -> None:
    far = pd.DataFrame(scan.summary["stand_outs"])
    st.header("Tensors that stand out")
    if len(far):
        st.caption(
            "Far from the same role and kind in other layers: more than 5 robust standard "
            "deviations (of the log) and more than a factor of two. Different is not wrong: "
            "look first."
        )
        far["name"] = far["name"].map(show_plain)
        st.dataframe(
            far, hide_index=True, key="stand_outs", alt=f"{len(far)} tensors that stand out"
        )
    else:
        st.write("None: every tensor is of the size and tails of its role in other layers.")


def _config(checkpoint: Checkpoint) -> None:
    st.header("Config")
    st.caption("config.json read as data; nothing in it is run.")
    config = checkpoint.config or {}
    st.dataframe(
        pd.DataFrame(
            [[show_plain(str(k)), show_plain(str(v), 200)] for k, v in config.items()],
            columns=["key", "value"],
        ),
        hide_index=True,
        key="config",
        alt=f"{len(config)} entries of config.json",
    )
