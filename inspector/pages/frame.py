"""What the pages share: the open model, plain text, charts with their tables."""

import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from inspector.errors import BadOption
from inspector.report.charts import Chart
from inspector.report.document import coverage_line, md_code, render
from inspector.results import Finding, Records, show_plain
from inspector.weights import channels
from inspector.weights.checkpoint import DEMO, Checkpoint, open_checkpoint
from inspector.weights.header import TensorEntry
from inspector.weights.makeup import inventory
from inspector.weights.remote import shown
from inspector.weights.stored import scan_key

PAGES = Path(__file__).parent
RECENT = 8
FOUR_DIGITS = st.column_config.NumberColumn(format="%.4g")


def page(name: str) -> Path:
    """The file of a page, for links and switches."""
    return PAGES / f"{name}.py"


def go(name: str, **parameters: str) -> None:
    """Switch to a page of the open model."""
    st.switch_page(page(name), query_params={"model": st.session_state["model"], **parameters})


@st.cache_resource(max_entries=8, show_spinner="Reading headers")
def opened(model: str) -> Checkpoint:
    """The model of that name, its headers read once for all visitors; raises InspectorError."""
    return open_checkpoint(model)


def open_model(model: str) -> Checkpoint:
    """Open a model and make it the one all pages show; raises InspectorError when it cannot be."""
    checkpoint = open_beside(model)
    st.session_state["model"] = model
    return checkpoint


def open_beside(model: str) -> Checkpoint:
    """Open a model that the other pages do not change to; raises InspectorError."""
    check_root(model)
    _check_secret(model)
    checkpoint = opened(model)
    if checkpoint.changed():
        opened.clear(model)
        checkpoint = opened(model)
        st.toast("The files have changed on disk and were opened again.")
    recent = [m for m in st.session_state.get("recent", []) if m != model]
    st.session_state["recent"] = [model, *recent][:RECENT]
    return checkpoint


def check_root(model: str) -> None:
    """Raise BadOption for a local path that is not under INSPECTOR_ROOTS (a shared server)."""
    roots = os.environ.get("INSPECTOR_ROOTS")
    if not roots or model.startswith(DEMO):
        return
    path = Path(model).expanduser()
    allowed = [Path(root).resolve() for root in roots.split(os.pathsep) if root]
    if not any(path.resolve().is_relative_to(root) for root in allowed):
        raise BadOption(
            "The path is outside the directories this server may read (INSPECTOR_ROOTS)."
        )


def _check_secret(model: str) -> None:
    """Addresses with a secret are not opened here: the page's own address would carry it on."""
    if shown(model) != model:
        raise BadOption(
            f"{show_plain(shown(model))}: an address with a password or a query is not opened in "
            "the app, since links to pages carry it. Use the command line or Python for it."
        )


def current() -> Checkpoint:
    """The open model; one that only a link names waits for a click. No model: the page stops."""
    linked = st.query_params.get("model", "")
    given = os.environ.get("INSPECTOR_MODEL", "")  # by whoever started the app
    model = st.session_state.get("model", given)
    if linked and not trusted(linked):
        st.header("This link opens a model")
        st.code(show_plain(linked, 500), language=None)
        if not st.button("Open it", type="primary", key="open_linked"):
            st.stop()
        open_model(linked)
        st.rerun()
    wanted = linked or model
    if not wanted:
        st.info("No model is open yet.")
        st.page_link(page("home"), label="Open one on the Home page", icon=":material/home:")
        st.stop()
    checkpoint = open_model(wanted)
    st.query_params["model"] = wanted
    chip(checkpoint)
    return checkpoint


def trusted(model: str) -> bool:
    """Whether a model that a link names was opened before by hand, or comes with the package."""
    known = (os.environ.get("INSPECTOR_MODEL", ""), *st.session_state.get("recent", []))
    return model.startswith(DEMO) or model in known


def chip(checkpoint: Checkpoint) -> None:
    """Which model is open, in the sidebar: name, size, dtypes, a short header hash."""
    parameters = sum(t.parameters for t in checkpoint.tensors)
    dtypes = sorted({t.dtype for t in checkpoint.tensors})
    hashes = [h.sha256 for h in checkpoint.headers if h.sha256]
    with st.sidebar:
        st.caption("Open model")
        name = "/".join(Path(checkpoint.model).parts[-2:])
        st.code(show_plain(name, 60), language=None, wrap_lines=True)
        header = hashes[0][:8] if hashes else "unread"
        st.text(f"{short(parameters)} values\n{show_plain(', '.join(dtypes), 60)}\nheader {header}")


def short(number: float) -> str:
    """A count in at most four digits and a letter: 22.7M."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.0f}"


def number(value: float) -> str:
    """A number in at most eight characters."""
    return f"{value:.4g}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.1e}"


def metrics(values: dict[str, str]) -> None:
    """Single numbers side by side, each as wide as it needs."""
    with st.container(horizontal=True):
        for label, value in values.items():
            st.metric(label, value, border=True, width="content")


def draw(chart: Chart, key: str, pick: str | None = None) -> dict[str, Any]:
    """A chart, the sentence that says the same, and its numbers on request.

    `pick` names a selection in an Altair chart; what is selected there is returned by field.
    """
    picked: dict[str, Any] = {}
    if type(chart.figure).__module__.startswith("plotly"):
        st.plotly_chart(chart.figure, key=key, alt=chart.alt, config={"displaylogo": False})
    elif pick is None:
        st.altair_chart(chart.figure, key=key, width="stretch", alt=chart.alt)
    else:
        event = st.altair_chart(
            chart.figure,
            key=key,
            width="stretch",
            alt=chart.alt,
            on_select="rerun",
            selection_mode=pick,
        )
        picked = dict(next(iter(event["selection"].get(pick, [])), {}))
    st.caption(md_code(chart.alt) if _risky(chart.alt) else chart.alt)
    with st.expander("As a table"):
        st.dataframe(chart.table, hide_index=True, key=f"{key}_table", alt=chart.alt)
    return picked


def _risky(text: str) -> bool:
    """Whether Markdown may read more into a text than its letters."""
    return re.search(r"[<>&`*\[\]$@\\]|://|www\.|~~|:\w+:", text) is not None


def findings_table(findings: tuple[Finding, ...], key: str) -> None:
    """Findings, the worst first; all text plain."""
    order = ("error", "warning", "info")
    ranked = sorted(findings, key=lambda f: order.index(f.severity))
    st.dataframe(
        pd.DataFrame(
            [[f.severity, f.id, f.where, f.statement, f.remedy] for f in ranked],
            columns=["severity", "id", "where", "what", "what to do"],
        ),
        hide_index=True,
        key=key,
        alt=f"{len(ranked)} findings",
    )


def coverage(result: Records[Any]) -> None:
    """How much of the model the numbers rest on, and when they were measured."""
    st.caption(f"{coverage_line(result)} Measured {result.source.when}.")


def downloads(result: Records[Any], forms: tuple[str, ...], key: str) -> None:
    """A button for each form of a result's document."""
    with st.container(horizontal=True):
        for form in forms:
            st.download_button(
                f"Download {form.upper()}",
                data=partial(render, result, form),
                file_name=f"{result.command}.{form}",
                on_click="ignore",
                key=f"{key}_{form}",
            )


def matches(names: "pd.Series[str]", text: str) -> "pd.Series[bool]":
    """Which names the regular expression finds; one that is none is looked for as plain text."""
    try:
        pattern = re.compile(text)
    except re.error:
        pattern = re.compile(re.escape(text))
    return names.map(lambda name: pattern.search(name) is not None).astype(bool)


@st.cache_resource(max_entries=4, show_spinner=False)
def _inventory(model: str, id: str) -> pd.DataFrame:
    return inventory(opened(model))


def listed(checkpoint: Checkpoint) -> pd.DataFrame:
    """One row per tensor from the headers; not to be changed in place."""
    return _inventory(checkpoint.model, scan_key(checkpoint))


@st.cache_resource(max_entries=4, show_spinner=False)
def _plain_names(model: str, id: str) -> dict[str, str]:
    return {show_plain(entry.name): entry.name for entry in opened(model).tensors}


def tensor_of(checkpoint: Checkpoint, where: str) -> str | None:
    """The tensor a finding's place means, or of which `name[q]` is a piece; None if it is none."""
    names = _plain_names(checkpoint.model, scan_key(checkpoint))
    return names.get(where) or names.get(where.rpartition("[")[0])


def why_no_profile(entry: TensorEntry) -> str | None:
    """Why a tensor has no rows and columns."""
    return channels.why_not(entry.dtype, entry.shape)
