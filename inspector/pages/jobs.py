"""Work in progress and what became of it."""

import datetime

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from inspector import jobs
from inspector.pages import frame
from inspector.results import show_plain

st.title("Jobs")


def result(column: DeltaGenerator, parameters: dict[str, str]) -> None:
    """A link to the page that shows what a job found."""
    query = {"model": parameters["model"]}
    if "name" in parameters:
        target = frame.page("tensor")
        query["tensor"] = parameters["name"]
    else:
        target = frame.page("summary")
    column.page_link(target, label="Result", query_params=query)


@st.fragment(run_every="1s")
def listing() -> None:
    """All jobs, the newest first, with a cancel button on those under way."""
    found = jobs.jobs()
    if not found:
        st.info("Nothing has been measured yet: open a model on the Home page.")
    for job in found[:30]:
        with st.container(border=True):
            left, right = st.columns([6, 1], vertical_alignment="center")
            when = datetime.datetime.fromtimestamp(job.started).strftime("%Y-%m-%d %H:%M:%S")
            left.text(f"{show_plain(job.title, 200)}\n{job.state}, started {when}")
            if job.error:
                left.code(show_plain(job.error, 500), language=None)
            if job.active:
                share = job.done / job.total if job.total else 0.0
                left.progress(share, text=f"{share:.0%} of {frame.short(job.total)}")
                if right.button("Cancel", key=f"cancel_{job.id}"):
                    jobs.cancel(job.id)
                    st.rerun(scope="fragment")
            elif job.state == "done":
                result(right, jobs.parameters(job.id))
            elif right.button("Again", key=f"again_{job.id}"):
                jobs.restart(job.id)
                st.rerun(scope="fragment")


listing()
