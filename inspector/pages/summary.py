"""A model as a whole: what it is made of, and every judgement of its weights."""

import streamlit as st

from inspector.pages import (
    frame,
    heads_view,
    init_view,
    overview_view,
    pruning_view,
    quantization_view,
    spectrum_view,
)

VIEWS = {
    "Overview": overview_view.summary,
    "Spectrum": spectrum_view.summary,
    "Initialisation": init_view.summary,
    "Neurons and heads": heads_view.show,
    "Pruning": pruning_view.summary,
    "Quantisation": quantization_view.summary,
}

checkpoint = frame.current()
st.title("Summary")
chosen = st.segmented_control(
    "View",
    ["Overview", "Spectrum", "Initialisation", "Neurons and heads", "Pruning", "Quantisation"],
    default="Overview",
    required=True,
    key="view",
    bind="query-params",
    label_visibility="collapsed",
)
VIEWS[chosen or "Overview"](checkpoint)
