"""What the pages share: the open model, its scan as a job, plain text, charts with their tables."""

import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import streamlit as st

from inspector import jobs
from inspector.errors import BadOption
from inspector.model.stored import answer_key, load_answer, prompt_questions
from inspector.report.charts import Chart
from inspector.report.document import coverage_line, md_code, render
from inspector.results import Finding, Records, show_plain
from inspector.weights import cache, channels
from inspector.weights.checkpoint import DEMO, Checkpoint, open_checkpoint
from inspector.weights.header import TensorEntry
from inspector.weights.makeup import inventory
from inspector.weights.remote import shown
from inspector.weights.scan import Scan
from inspector.weights.stored import load_scan, scan_key, stored_view, view_key
from inspector.weights.stored_judgements import (
    Kept,
    compare_key,
    judgement_key,
    load_compare,
    load_judgement,
)
from inspector.weights.tensor import TensorView

PAGES = Path(__file__).parent
RECENT = 8
AT_ONCE = 32_000_000  # bytes of a tensor that are looked at well within a second
DOING = {  # work of a job -> what it does, above its progress
    "scan": "Measuring every value",
    "tensor": "Measuring every value",
    "health": "Checking every rule",
    "spectrum": "Taking every matrix apart into directions",
    "init": "Comparing every tensor with fresh draws",
    "neurons": "Looking at every unit and head",
    "prune": "Sorting every matrix by size",
    "quantize": "Rounding every matrix to fewer bits",
    "compare": "Comparing tensor by tensor",
    "prompt": "Asking the model",
    "lens": "Looking at the answer after each layer",
    "attention": "Watching every head",
    "maps": "Mapping heads",
    "ablate": "Switching parts off, one by one",
    "heads": "Weighing every head",
    "activations": "Measuring signals through the layers",
    "attribute": "Weighing every word",
    "agreement": "Asking every method",
    "layers": "Following the answer through the layers",
}
R = TypeVar("R")
FOUR_DIGITS = st.column_config.NumberColumn(format="%.4g")


def page(name: str) -> Path:
    """The file of a page, for links and switches."""
    return PAGES / f"{name}.py"


def go(name: str, **parameters: str) -> None:
    """Switch to a page of the open model."""
    st.switch_page(page(name), query_params={"model": st.session_state["model"], **parameters})


@st.cache_resource(max_entries=8, show_spinner="Reading headers")
def _open(model: str) -> Checkpoint:
    return open_checkpoint(model)


def open_model(model: str) -> Checkpoint:
    """Open a model and make it the one all pages show; raises InspectorError when it cannot be."""
    checkpoint = open_beside(model)
    st.session_state["model"] = model
    return checkpoint


def open_beside(model: str) -> Checkpoint:
    """Open a model that the other pages do not change to; raises InspectorError."""
    _check_root(model)
    _check_secret(model)
    checkpoint = _open(model)
    if checkpoint.changed():
        _open.clear(model)
        checkpoint = _open(model)
        st.toast("The files have changed on disk and were opened again.")
    recent = [m for m in st.session_state.get("recent", []) if m != model]
    st.session_state["recent"] = [model, *recent][:RECENT]
    return checkpoint


def _check_root(model: str) -> None:
    """Local paths must lie under INSPECTOR_ROOTS where that is set (a shared server)."""
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


def scanned(checkpoint: Checkpoint) -> Scan | None:
    """The model's scan; while there is none, a job makes it and its progress is drawn here."""
    id = scan_key(checkpoint)
    if (kept := _found(_scan, id)) is None:
        title = f"Scan of {show_plain(checkpoint.model)}"
        _have_made(id, "scan", title, model=checkpoint.model, channels=False)
    return kept


def judged(checkpoint: Checkpoint, command: str) -> Kept | None:
    """A judgement in JUDGEMENTS; while there is none, a job makes it, its progress drawn here."""
    id = judgement_key(checkpoint, command)
    if (kept := _found(_judgement, id, command)) is None:
        title = f"{command.capitalize()} of {show_plain(checkpoint.model)}"
        _have_made(id, command, title, model=checkpoint.model)
    return kept


def judged_before(checkpoint: Checkpoint, command: str) -> Kept | None:
    """A judgement that is there already; None starts nothing."""
    return _found(_judgement, judgement_key(checkpoint, command), command)


def compared(base: Checkpoint, tuned: Checkpoint) -> Kept | None:
    """The comparison of two models; while there is none, a job makes it as in `judged`."""
    id = compare_key(base, tuned)
    if (kept := _found(_comparison, id)) is None:
        title = f"Compare of {show_plain(base.model)} and {show_plain(tuned.model)}"
        _have_made(id, "compare", title, base=base.model, model=tuned.model)
    return kept


def answered(checkpoint: Checkpoint, command: str, **question: Any) -> Kept | None:
    """An answer in ANSWERS; while there is none, a job asks for it, its progress drawn here."""
    id = answer_key(checkpoint, command, **question)
    if (kept := _found(_answer, id, command)) is None:
        title = f"{command.capitalize()} of {show_plain(checkpoint.model)}"
        _have_made(id, command, title, model=checkpoint.model, **question)
    return kept


def answered_before(checkpoint: Checkpoint, command: str, **question: Any) -> Kept | None:
    """An answer that is there already; None starts nothing."""
    return _found(_answer, answer_key(checkpoint, command, **question), command)


def prompted(
    checkpoint: Checkpoint, text: str, target: str | None = None, versus: str | None = None
) -> dict[str, Kept | None]:
    """The answers in PROMPT about one prompt; a job asks for those missing, each shown as it comes.

    An answer without records whose summary has `refused` says why there is none.
    """
    asked = prompt_questions(text, target, versus)
    keys = {command: answer_key(checkpoint, command, **one) for command, one in asked.items()}
    found = {command: _found(_answer, id, command) for command, id in keys.items()}
    if missing := [keys[command] for command, kept in found.items() if kept is None]:
        question = {"text": text, "target": target, "versus": versus}
        id = answer_key(checkpoint, "prompt", **question)
        title = f"Prompt to {show_plain(checkpoint.model)}"
        _have_made(id, "prompt", title, missing, model=checkpoint.model, **question)
    return found


# Results are shared between pages and visitors: nothing may change them in place.
@st.cache_resource(max_entries=4, show_spinner=False)
def _scan(id: str) -> Scan:
    return _there(load_scan(id))


@st.cache_resource(max_entries=12, show_spinner=False)
def _judgement(id: str, command: str) -> Kept:
    return _there(load_judgement(id, command))


@st.cache_resource(max_entries=24, show_spinner=False)
def _answer(id: str, command: str) -> Kept:
    return _there(load_answer(id, command))


@st.cache_resource(max_entries=4, show_spinner=False)
def _comparison(id: str) -> Kept:
    return _there(load_compare(id))


def _there(kept: R | None) -> R:
    if kept is None:
        raise LookupError  # what is not there yet must not be remembered as missing
    return kept


def _found(load: Callable[..., R], *names: str) -> R | None:
    try:
        return load(*names)
    except LookupError:
        return None


def _have_made(
    id: str, work: str, title: str, parts: Sequence[str] = (), /, **parameters: Any
) -> None:
    """Have a job do the work in jobs.WORK, unless it is under way or ended badly; say how it is.

    The page is drawn anew when the job ends, and as each result named in `parts` is there.
    """
    job = jobs.find(id)
    if job is None or job.state == "done":  # done, but its result has been pruned
        jobs.submit(id, work, title, **parameters)
    watch(id, DOING[work], parts)


def watch(id: str, doing: str, parts: Sequence[str] = ()) -> None:
    """A job under way or one that ended badly, with what can be done about it."""
    job = jobs.find(id)
    if job is None:
        return
    if job.active:
        _progress(id, doing, parts)
        return
    if job.state == "cancelled":
        st.warning("The measurement was cancelled: what needs it is not shown.")
    elif job.state == "failed":
        st.error("The measurement failed:")
        st.code(show_plain(job.error or "", 500), language=None)
    if st.button("Measure", key=f"restart_{id}", type="primary"):
        jobs.restart(id)
        st.rerun()


@st.fragment(run_every="0.5s")
def _progress(id: str, doing: str, parts: Sequence[str]) -> None:
    job = jobs.find(id)
    if job is None or not job.active or any(map(cache.has, parts)):
        st.rerun()  # the whole page: without this timer, and with what was measured
    left, right = st.columns([5, 1], vertical_alignment="bottom")
    share = job.done / job.total if job.total else 0.0
    seconds = job.seconds_left
    when = f", about {seconds:.0f} s left" if seconds is not None else ""
    left.progress(share, text=f"{doing}: {share:.0%}{when}")
    if right.button("Cancel", key=f"cancel_{id}"):
        jobs.cancel(id)
        st.rerun()


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
    return inventory(_open(model))


def listed(checkpoint: Checkpoint) -> pd.DataFrame:
    """One row per tensor from the headers; not to be changed in place."""
    return _inventory(checkpoint.model, scan_key(checkpoint))


@st.cache_resource(max_entries=4, show_spinner=False)
def _plain_names(model: str, id: str) -> dict[str, str]:
    return {show_plain(entry.name): entry.name for entry in _open(model).tensors}


def tensor_of(checkpoint: Checkpoint, where: str) -> str | None:
    """The tensor a finding's place means, or of which `name[q]` is a piece; None if it is none."""
    names = _plain_names(checkpoint.model, scan_key(checkpoint))
    return names.get(where) or names.get(where.rpartition("[")[0])


@st.cache_resource(max_entries=8, show_spinner="Reading the tensor")
def _view(model: str, id: str, name: str) -> TensorView:
    return stored_view(_open(model), name)


def viewed(checkpoint: Checkpoint, name: str) -> TensorView:
    """Everything about one tensor; a large one is measured by a job, and the page ends here."""
    id = view_key(checkpoint, name)
    if checkpoint.tensor(name).bytes <= AT_ONCE or cache.has(id):
        return _view(checkpoint.model, id, name)
    title = f"Tensor {show_plain(name)} of {show_plain(checkpoint.model)}"
    _have_made(id, "tensor", title, model=checkpoint.model, name=name)
    return st.stop()


def why_no_profile(entry: TensorEntry) -> str | None:
    """Why a tensor has no rows and columns."""
    return channels.why_not(entry.dtype, entry.shape)
