"""Probes of bias: what is asked, what came of it, where it sits, and what changed."""

import streamlit as st

from inspector.fairness.probes.table import PROBES
from inspector.pages import (
    bias_compare_view,
    bias_data_view,
    bias_localize_view,
    bias_probe_view,
    frame,
    material,
)
from inspector.pages.bias_form import Chosen, usual_probe
from inspector.weights.checkpoint import Checkpoint


def main() -> None:
    """The page."""
    checkpoint = frame.current()
    st.title("Bias")
    st.write(
        "Does the model find likelier what a stereotype says? Every number comes with its "
        "interval, its test and a verdict that says whether to believe it."
    )
    view = st.segmented_control(
        "View",
        ["Probes", "Data", "Localise", "Compare two models"],
        default="Probes",
        required=True,
        key="bias_view",
        bind="query-params",
        label_visibility="collapsed",
    )
    if view == "Localise":
        bias_localize_view.show(checkpoint)
        return
    chosen = _choose(checkpoint)
    if chosen is None:
        return
    shows = {"Data": bias_data_view.show, "Compare two models": bias_compare_view.show}
    shows.get(view, bias_probe_view.show)(checkpoint, chosen)


def _choose(checkpoint: Checkpoint) -> Chosen | None:
    """The probe and the data that it asks about."""
    names = [name for name, kind in PROBES.items() if kind.asks != "classes"]
    linked = st.query_params.get("probe", "")
    before = st.session_state.get("bias_probe_before", usual_probe(checkpoint))
    first = linked if linked in names else before
    left, right = st.columns(2)
    with left:
        name = st.selectbox("Probe", names, index=names.index(first), key="bias_probe")
    st.session_state["bias_probe_before"] = st.query_params["probe"] = name
    kind = PROBES[name]
    with right:
        found = material.choose(checkpoint, kind.shipped, kind.given, "bias")
    if found is None:
        bias_probe_view.about(kind)
        return None
    return Chosen.of(name, found)


main()
