"""Work in progress and what became of it."""

import datetime
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from inspector import jobs
from inspector.fairness.probes.table import PROBES
from inspector.pages import asking, frame, material
from inspector.results import show_plain

VIEWS = {  # work whose result is a view of the Summary page
    "spectrum": "Spectrum",
    "init": "Initialisation",
    "neurons": "Neurons and heads",
    "prune": "Pruning",
    "quantize": "Quantisation",
}

OF_A_MODEL = {  # work that asks a model -> the page that shows the answer
    **dict.fromkeys(("prompt", "lens", "maps", "ablate", "heads"), "prompt"),
    **dict.fromkeys(("attention", "activations"), "prompt"),
    **dict.fromkeys(("attribute", "agreement", "layers"), "attribution"),
}
OF_MANY_TEXTS = ("attention", "activations")
MOST_LINKED = 500  # characters of a prompt that a link carries

st.title("Jobs")


def result(column: DeltaGenerator, id: str, work: str, parameters: dict[str, Any]) -> None:
    """A link to the page that shows what a job found."""
    target, query = OF_A_MODEL.get(work, "summary"), {"model": parameters["model"]}
    text = parameters.get("text")
    if isinstance(text, str) and len(text) <= MOST_LINKED:
        named = {name: parameters.get(name) for name in ("text", "target", "versus")}
        query |= {name: value for name, value in named.items() if isinstance(value, str)}
    if work in OF_MANY_TEXTS:
        query["prompt_view"] = "Heads and signals"
    if work in ("tensor", "compare", "health"):
        target = work
    if work == "tensor":
        query["tensor"] = parameters["name"]
    elif work == "compare":
        query["base"] = parameters["base"]
    elif work in VIEWS:
        query["view"] = VIEWS[work]
    elif work in ("probe", "localize"):
        target, more = of_bias(id, work, parameters)
        query |= more
    column.page_link(frame.page(target), label="Result", query_params=query)


def of_bias(id: str, work: str, parameters: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """The page of a probe or of a gap that was localised, and what stands in its address."""
    query = {"data": material.in_address(parameters.get("data"))}
    if work == "localize":
        category = parameters.get("category")
        named = {} if category is None else {"category": category}
        return "bias", {**query, **named, "bias_view": "Localise"}
    name, base = parameters["name"], parameters.get("baseline")
    query |= {asking.JOB: id}
    if name in PROBES and PROBES[name].asks == "classes":
        return "groups", query
    if base is not None:
        query["base"] = base
    view = "Probes" if base is None else "Compare two models"
    return "bias", {**query, "probe": name, "bias_view": view}


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
                left.progress(share, text=f"{share:.0%}")
                if right.button("Cancel", key=f"cancel_{job.id}"):
                    jobs.cancel(job.id)
                    st.rerun(scope="fragment")
            elif job.state == "done":
                if (asked := jobs.asked(job.id)) is not None:
                    result(right, job.id, *asked)
            elif right.button("Again", key=f"again_{job.id}"):
                jobs.restart(job.id)
                st.rerun(scope="fragment")


listing()
