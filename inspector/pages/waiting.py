"""What pages wait for: a result from disk, or the job that makes it, its progress drawn."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import streamlit as st

from inspector import jobs
from inspector.fairness.stored import (
    Item,
    load_items,
    load_localized,
    load_probe,
    localize_key,
    probe_key,
)
from inspector.model.stored import answer_key, load_answer, prompt_questions
from inspector.pages import frame
from inspector.results import show_plain
from inspector.weights import cache
from inspector.weights.checkpoint import Checkpoint
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
    "probe": "Asking about every item",
    "localize": "Taking parts out, one by one",
    "layers": "Following the answer through the layers",
}
R = TypeVar("R")


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


def probed(
    checkpoint: Checkpoint,
    name: str,
    sha256: str,
    data: str | None = None,
    baseline: Checkpoint | None = None,
    **question: Any,
) -> Kept | None:
    """A probe's records; while there are none, a job asks, its progress drawn here.

    `sha256`: of the items in `data`; `question`: scorer, margin, seed, options of the probe.
    """
    id = probe_key(checkpoint, name, sha256, baseline, **question)
    if (kept := _found(_probe, id)) is None:
        title = f"Probe {name} of {show_plain(checkpoint.model)}"
        title += f" against {show_plain(baseline.model)}" if baseline is not None else ""
        asked = {"data": data, "baseline": baseline and baseline.model, **question}
        _have_made(id, "probe", title, model=checkpoint.model, name=name, sha256=sha256, **asked)
    return kept


def probed_before(
    checkpoint: Checkpoint,
    name: str,
    sha256: str,
    baseline: Checkpoint | None = None,
    **question: Any,
) -> Kept | None:
    """A probe's records that are there already; None starts nothing."""
    return _found(_probe, probe_key(checkpoint, name, sha256, baseline, **question))


def localized(
    checkpoint: Checkpoint, sha256: str, data: str | None = None, **question: Any
) -> Kept | None:
    """Where a gap sits; while it is not known, a job finds out, its progress drawn here."""
    id = localize_key(checkpoint, sha256, **question)
    if (kept := _found(_localized, id)) is None:
        title = f"Localise in {show_plain(checkpoint.model)}"
        asked = {"data": data, **question}
        _have_made(id, "localize", title, model=checkpoint.model, sha256=sha256, **asked)
    return kept


def localized_before(checkpoint: Checkpoint, sha256: str, **question: Any) -> Kept | None:
    """A localised gap that is there already; None starts nothing."""
    return _found(_localized, localize_key(checkpoint, sha256, **question))


@st.cache_resource(max_entries=8, show_spinner=False)
def items_of(key: str) -> tuple[Item, ...]:
    """The items behind a probe's records; empty where they are not kept any more."""
    return load_items(key) or ()


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


@st.cache_resource(max_entries=24, show_spinner=False)
def _probe(id: str) -> Kept:
    return _there(load_probe(id))


@st.cache_resource(max_entries=8, show_spinner=False)
def _localized(id: str) -> Kept:
    return _there(load_localized(id))


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
    watch(id, DOING[work], [one for one in parts if not cache.has(one)])


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


@st.cache_resource(max_entries=8, show_spinner="Reading the tensor")
def _view(model: str, id: str, name: str) -> TensorView:
    return stored_view(frame.opened(model), name)


def viewed(checkpoint: Checkpoint, name: str) -> TensorView:
    """Everything about one tensor; a large one is measured by a job, and the page ends here."""
    id = view_key(checkpoint, name)
    if checkpoint.tensor(name).bytes <= AT_ONCE or cache.has(id):
        return _view(checkpoint.model, id, name)
    title = f"Tensor {show_plain(name)} of {show_plain(checkpoint.model)}"
    _have_made(id, "tensor", title, model=checkpoint.model, name=name)
    return st.stop()
