"""One tensor: how its values are spread, by row and column, and against its peers."""

import pandas as pd
import streamlit as st

from inspector.pages import frame
from inspector.report import charts
from inspector.results import show_plain
from inspector.weights.tensor import peers

MOST_OFFERED = 1000  # names to choose from, around the open one: a browser chokes on 200,000

checkpoint = frame.current()
names = [t.name for t in checkpoint.tensors]
placements = checkpoint.architecture.placements
if not names:
    st.title("Tensor")
    st.info("This model has no tensors.")
    st.stop()
seen = st.session_state.get("tensor_of", {})  # model -> the tensor last looked at
wanted = st.query_params.get("tensor") or seen.get(checkpoint.model)
if wanted is None:  # the first matrix of a layer says more than what stands before the layers
    inside = (t.name for t in checkpoint.tensors if placements[t.name].layer is not None
              and len(t.shape) > 1)  # fmt: skip
    wanted = next(inside, names[0])
if wanted not in placements:
    st.title("Tensor")
    st.warning("This model has no tensor of that name:")
    st.code(show_plain(wanted, 300), language=None)
    st.page_link(frame.page("tensors"), label="All tensors", icon=":material/table_rows:",
                 query_params={"model": st.session_state["model"]})  # fmt: skip
    st.stop()
st.session_state["tensor_of"] = {checkpoint.model: wanted}
st.query_params["tensor"] = wanted

st.title("Tensor")
position = names.index(wanted)
back, choose, forward = st.columns([2, 11, 2], vertical_alignment="bottom")
if back.button("Previous", key="previous", disabled=position == 0, width="stretch"):
    frame.go("tensor", tensor=names[position - 1])
first = max(position - MOST_OFFERED // 2, 0)
near = names[first : first + MOST_OFFERED]
chosen = choose.selectbox(
    "Name",
    near,
    index=position - first,
    format_func=show_plain,
    help="Of a large model, the tensors around this one; the Tensors page has them all.",
)
if chosen != wanted:
    frame.go("tensor", tensor=chosen)
if forward.button("Next", key="next", disabled=position == len(names) - 1, width="stretch"):
    frame.go("tensor", tensor=names[position + 1])

entry = checkpoint.tensor(wanted)
placement = placements[wanted]
shape = f"shape {' x '.join(map(str, entry.shape))}" if entry.shape else "a scalar"
layer = f" of layer {placement.layer}" if placement.layer is not None else ""
role = placement.role if placement.role == placement.kind else f"{placement.role} {placement.kind}"
st.text(
    f"{role}{layer}; {entry.dtype}, {shape}, {entry.parameters:,} values; "
    f"bytes {entry.start:,} to {entry.end:,} of {show_plain(entry.file)}"
)
view = frame.viewed(checkpoint, wanted)
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

if view.profile is None:
    st.caption("Not shown by row and column: " + (frame.why_no_profile(entry) or ""))
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

st.header("Same role, all layers")
scan = frame.scanned(checkpoint)
family = peers(checkpoint, wanted)
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
    frame.draw(charts.peers([by_name[n] for n in family if n in by_name], wanted, measure), "peers")

st.header("Every statistic")
fields = [[name, "" if value is None else str(value)] for name, value in vars(record).items()]
st.dataframe(
    pd.DataFrame([[n, show_plain(v, 300)] for n, v in fields], columns=["field", "value"]),
    hide_index=True,
    key="record",
    alt="All fields of the record",
)
st.caption("Exact: every value of the tensor was counted; over its finite values.")
