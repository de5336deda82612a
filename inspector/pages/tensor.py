"""One tensor: its values, and every judgement of it."""

import streamlit as st

from inspector.pages import (
    frame,
    init_view,
    pruning_view,
    quantization_view,
    spectrum_view,
    values_view,
)
from inspector.results import show_plain

VIEWS = {
    "Values": values_view.tensor,
    "Spectrum": spectrum_view.tensor,
    "Initialisation": init_view.tensor,
    "Pruning": pruning_view.tensor,
    "Quantisation": quantization_view.tensor,
}

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
view = st.segmented_control(
    "View",
    ["Values", "Spectrum", "Initialisation", "Pruning", "Quantisation"],
    default="Values",
    required=True,
    key="show",  # not "view": a link from the Summary page cannot set what that page has bound
    bind="query-params",
    label_visibility="collapsed",
)
VIEWS[view or "Values"](checkpoint, wanted)
