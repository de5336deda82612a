"""Every tensor in one table; a row opens it."""

import pandas as pd
import streamlit as st

from inspector.pages import frame, waiting
from inspector.results import show_plain

ALL = "all"
HEADERS = ["name", "role", "kind", "shape", "dtype"]
NUMBERS = ["mean", "std", "min", "max", "kurtosis"]
MORE_NUMBERS = ["rms", "abs_max", "skewness", "q01", "q50", "q99", "entropy_bits"]
COUNTS = ["zeros", "nan", "inf"]
MORE_COUNTS = ["subnormals", "distinct", "beyond_3sigma", "beyond_6sigma"]
MEASURED = [*NUMBERS, *COUNTS, *MORE_NUMBERS, *MORE_COUNTS]
ORDER = [*HEADERS, *NUMBERS, *COUNTS, "parameters", "bytes", *MORE_NUMBERS, *MORE_COUNTS, "shard"]

checkpoint = frame.current()
st.title("Tensors")
scan = waiting.scanned(checkpoint)
table = frame.listed(checkpoint)
if scan is not None:
    measured = scan.to_frame()[["name", *MEASURED]]
    table = table.merge(measured, on="name", how="left")

one, two, three, four = st.columns([3, 1, 1, 1])
text = one.text_input(
    "Name contains (regular expression)", key="filter_name", persist_state="session"
)
layers = [ALL, *dict.fromkeys(table["layer_label"])]
layer = two.selectbox("Layer", layers, key="layer", bind="query-params")
role = three.selectbox("Role", [ALL, *sorted(set(table["role"]))], key="role", bind="query-params")
kind = four.selectbox("Kind", [ALL, *sorted(set(table["kind"]))], key="kind", bind="query-params")
keep = frame.matches(table["name"], text)
for column, value in (("layer_label", layer), ("role", role), ("kind", kind)):
    if value != ALL:
        keep &= table[column] == value
shown = table[keep].reset_index(drop=True)
st.caption(
    f"{len(shown):,} of {len(table):,} tensors, "
    f"{frame.short(float(shown['parameters'].sum()))} values. "
    "Click a column to sort, a row to open the tensor."
)
plain = shown.drop(columns=["layer_label"]).assign(name=shown["name"].map(show_plain))
numbers = [c for c in (*NUMBERS, *MORE_NUMBERS) if c in plain]
event = st.dataframe(
    plain,
    hide_index=True,
    lazy=False,
    height=600,
    key="tensor_table",
    on_select="rerun",
    selection_mode="single-row",
    column_config={
        "name": st.column_config.TextColumn(width=280),
        "parameters": st.column_config.NumberColumn(format="localized"),
        "bytes": st.column_config.NumberColumn(format="bytes"),
        **dict.fromkeys(numbers, frame.FOUR_DIGITS),
    },
    column_order=[c for c in ORDER if c in plain],
    alt=f"{len(shown)} tensors",
)
if event.selection.rows and event.selection.rows[0] < len(shown):
    frame.go("tensor", tensor=str(shown["name"][event.selection.rows[0]]))
if scan is None:
    st.caption("Statistics join the table when the measurement above is done.")
else:
    frame.coverage(scan)
    frame.downloads(scan, ("csv", "json"), "scan_download")
unread = pd.DataFrame(
    [[show_plain(t.name), t.unreadable] for t in checkpoint.tensors if t.unreadable],
    columns=["tensor", "why"],
)
if len(unread):
    st.header("Not readable")
    st.dataframe(unread, hide_index=True, alt=f"{len(unread)} tensors that cannot be read")
