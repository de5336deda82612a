"""What was asked of a probe: typed into a form, named by a link to a job, or kept from before."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

import streamlit as st

from inspector import jobs
from inspector.fairness.stored import probe_key
from inspector.pages import waiting
from inspector.weights.checkpoint import Checkpoint

JOB: Final = "job"  # the parameter of the address that names a job


@runtime_checkable
class Question(Protocol):
    """How a probe is asked: options of `probe` beside its data and models."""

    def asked(self) -> dict[str, Any]:
        """The options as they are kept."""

    def like(self, told: Mapping[str, Any]) -> "Question":
        """The question whose options are these; any others are passed over."""


Q = TypeVar("Q", bound=Question)


def ask(
    checkpoint: Checkpoint,
    probe: str,
    sha256: str,
    plain: Q,
    form: Callable[[Q], Q | None],
    baseline: Checkpoint | None = None,
) -> Q | None:
    """What the form says, else what was asked of the same last, else `plain` where that is kept.

    `form` draws itself as it was filled in before and returns what was sent. `sha256`: of the
    data. A link to a job counts as asking what the job was asked.
    """
    before: dict[tuple[str | None, ...], Q] = st.session_state.setdefault("probes_asked", {})
    place = _place(checkpoint, probe, sha256, baseline)
    if (linked := _linked(checkpoint, probe, sha256, plain, baseline)) is not None:
        before[place] = linked
    typed = form(before.get(place, plain))
    if typed is not None:
        before[place] = typed
    if place in before:
        return before[place]
    kept = waiting.probed_before(checkpoint, probe, sha256, baseline, **plain.asked())
    return None if kept is None else plain


def remember(checkpoint: Checkpoint, probe: str, sha256: str, question: Question) -> None:
    """Have the probe's page take this for what was asked last."""
    before = st.session_state.setdefault("probes_asked", {})
    before[_place(checkpoint, probe, sha256, None)] = question


def _place(
    checkpoint: Checkpoint, probe: str, sha256: str, baseline: Checkpoint | None
) -> tuple[str | None, ...]:
    return checkpoint.model, probe, sha256, None if baseline is None else baseline.model


def _linked(
    checkpoint: Checkpoint, probe: str, sha256: str, plain: Q, baseline: Checkpoint | None
) -> Q | None:
    """What the job that the address names was asked, if it was asked that of these."""
    id = st.query_params.get(JOB, "")
    if JOB in st.query_params:
        del st.query_params[JOB]
    found = jobs.asked(id) if re.fullmatch("[0-9a-f]{32}", id) else None
    if found is None:
        return None
    question: Any = plain.like(found[1])
    named = probe_key(checkpoint, probe, sha256, baseline, **question.asked())
    return question if named == id else None
