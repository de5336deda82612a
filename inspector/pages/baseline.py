"""The model that the open one is compared with: chosen, typed, or named by a link."""

import streamlit as st

from inspector.demo import MODELS
from inspector.pages import frame
from inspector.results import show_plain
from inspector.weights.checkpoint import DEMO, Checkpoint


def choose(tuned: Checkpoint) -> Checkpoint | None:
    """The model to compare with: from the form, else the link, else the one chosen before."""
    recent = [m for m in st.session_state.get("recent", []) if m != tuned.model]
    demos = [f"{DEMO}{name}" for name in MODELS if f"{DEMO}{name}" != tuned.model]
    known = list(dict.fromkeys([*recent, *demos]))
    before = st.session_state.get("base_of", {}).get(tuned.model, "")
    linked = st.query_params.get("base") or before
    with st.form("baseline", border=True):
        left, right = st.columns([3, 5], vertical_alignment="bottom")
        picked = left.selectbox(
            "Baseline",
            known,
            index=None,
            format_func=lambda model: show_plain(model, 80),
            placeholder="A demo, or opened before",
            key="base_known",
        )
        with right.container(horizontal=True, vertical_alignment="bottom"):
            typed = st.text_input(
                "Or a path, URL or Hub id",
                value="" if linked in known else show_plain(linked, 500),
                key="base_typed",
            )
            asked = st.form_submit_button("Compare", type="primary", key="compare_now")
    if asked:
        linked = picked or typed.strip()
    if not linked:
        st.info("Choose what to compare the open model with: its base, or an earlier version.")
        return None
    if not asked and not frame.trusted(linked) and linked != tuned.model:
        st.warning("This link compares with a model that was not opened yet:")
        st.code(show_plain(linked, 500), language=None)
        if not st.button("Open it", type="primary", key="open_base"):
            return None
        frame.open_beside(linked)
        st.rerun()
    base = frame.open_beside(linked)
    st.session_state["base_of"] = {tuned.model: linked}
    st.query_params["base"] = linked
    st.caption("Baseline")
    st.code(show_plain(linked, 200), language=None, wrap_lines=True)
    return base
