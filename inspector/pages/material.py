"""What a probe asks about: choosing its data, reading it once, and saying where it comes from."""

import dataclasses
from pathlib import Path
from typing import Any, Final

import pandas as pd
import streamlit as st

from inspector.errors import BadOption, InspectorError
from inspector.fairness.items import BadStimuli, Remark, Stimuli
from inspector.fairness.stimuli import DEMO as DEMO_WORDS
from inspector.fairness.stimuli import HUB, SETS, demo_material, read
from inspector.pages import frame
from inspector.results import show_plain
from inspector.weights.checkpoint import DEMO, Checkpoint

PACKAGE, PATH = "package", "path"
WAYS: Final = {
    PACKAGE: "Comes with the package",
    DEMO_WORDS: "In the demo models' words",
    PATH: "A path, or hub:ID",
}
MOST_REMARKS: Final = 2000
MOST_FILES: Final = 1000  # of a folder, that tell whether it is still the same


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """Items that were read: `data` as in `probe`, None for what the package ships."""

    data: str | None
    stimuli: Stimuli[Any]


def choose(
    checkpoint: Checkpoint, shipped: str | None, given: str | None, key: str
) -> Material | None:
    """Let someone choose the data of a probe and read it; None while there is none to be had.

    `shipped` and `given` are sets as in `ProbeKind`. A path from a link waits for a click.
    """
    ways = _ways(shipped, given)
    way = _way(checkpoint, ways, key)
    if way == PATH and given is not None:
        return _from_path(given, key)
    return _of_way(way, shipped, given)


def in_address(data: str | None) -> str:
    """What stands for data in the address of a page."""
    return PACKAGE if data is None else data


def first(checkpoint: Checkpoint, shipped: str | None, given: str | None) -> Material | None:
    """The data that is offered first, where it needs no path."""
    ways = _ways(shipped, given)
    return _of_way(_first(checkpoint, ways), shipped, given)


def _ways(shipped: str | None, given: str | None) -> list[str]:
    found = [PACKAGE] if shipped is not None else []
    if given is not None:
        found += [DEMO_WORDS] if _has_demo_words(given) else []
        found.append(PATH)
    return found


def _first(checkpoint: Checkpoint, ways: list[str]) -> str:
    """On demo models what is in their own words comes first."""
    return DEMO_WORDS if DEMO_WORDS in ways and checkpoint.model.startswith(DEMO) else ways[0]


def _of_way(way: str, shipped: str | None, given: str | None) -> Material | None:
    """What comes with the package."""
    if way == PACKAGE and shipped is not None:
        return _material(shipped, None)
    if way == DEMO_WORDS and given is not None:
        return _material(given, DEMO_WORDS)
    return None


def _way(checkpoint: Checkpoint, ways: list[str], key: str) -> str:
    """Which of the ways: as linked, else the first."""
    usual, linked = _first(checkpoint, ways), st.query_params.get("data", "")
    chosen = linked if linked in ways else usual
    if linked and linked not in WAYS and PATH in ways:
        chosen = PATH
    way: str = st.selectbox(
        "Data",
        ways,
        index=ways.index(chosen),
        format_func=lambda one: WAYS[one],
        key=f"{key}_way_{'_'.join(ways)}_{usual}",
    )
    if way == PATH:
        return way
    st.query_params["data"] = way
    return way


def _from_path(given: str, key: str) -> Material | None:
    """A path or Hub id that someone types; what only a link names is not read before a click."""
    linked = st.query_params.get("data", "")
    linked = "" if linked in WAYS else linked
    with st.form(f"{key}_path_form", border=False):
        wanted = SETS[given].wanted
        with st.container(horizontal=True, vertical_alignment="bottom"):
            typed = st.text_input(
                "Path, or hub:ID",
                value=show_plain(linked, 500),
                key=f"{key}_path_{given}",
                placeholder=wanted,
            ).strip()
            sent = st.form_submit_button("Read it", key=f"{key}_read")
        if sent and typed:
            _accepted().add((given, typed))
            st.query_params["data"] = typed
    if (given, typed) not in _accepted():
        st.info("Type where the data lies and press Read it. This is wanted:")
        st.text(wanted or "")
        return None
    return _material(given, typed)


def _accepted() -> set[tuple[str, str]]:
    """Data that was asked for by hand in this session."""
    found: set[tuple[str, str]] = st.session_state.setdefault("bias_accepted", set())
    return found


def _material(set_name: str, data: str | None) -> Material | None:
    """The items; what is wrong with data that cannot be used is shown row by row."""
    try:
        if data is not None and _is_path(data):
            frame.check_root(data)
        return Material(data=data, stimuli=_read(set_name, data, _stamps(data)))
    except InspectorError as error:
        refused(error)
        return None


def refused(error: InspectorError) -> None:
    """Why data cannot be used, row by row where that is known."""
    st.error("This data cannot be used:")
    st.code(show_plain(str(error), 1000), language=None, wrap_lines=True)
    if isinstance(error, BadStimuli) and error.remarks:
        _remarks(error.remarks, "refused_rows")


def _is_path(data: str) -> bool:
    return data != DEMO_WORDS and not data.startswith(HUB)


@st.cache_resource(max_entries=6, show_spinner="Reading the data")
def _read(set_name: str, data: str | None, stamps: tuple[Any, ...]) -> Stimuli[Any]:
    return read(set_name, data)


def _stamps(data: str | None) -> tuple[Any, ...]:
    """What tells whether files are still the same."""
    if data is None or not _is_path(data):
        return ()
    try:
        path = Path(data)
        found = sorted(path.iterdir())[:MOST_FILES] if path.is_dir() else [path]
        told = [(str(one), one.stat()) for one in found]
    except (OSError, ValueError):  # reading it says what is wrong
        return ()
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in told)


def _has_demo_words(set_name: str) -> bool:
    """Whether the package has items of a set in the words that the demo models know."""
    try:
        demo_material(set_name)
    except BadOption:
        return False
    return True


def left_out(stimuli: Stimuli[Any], key: str) -> None:
    """What was left out, and what is odd about the rest, with rows and reasons."""
    if stimuli.excluded:
        st.subheader(f"Left out ({len(stimuli.excluded):,})")
        _remarks(stimuli.excluded, f"{key}_excluded")
    if stimuli.notes:
        st.subheader(f"Kept, with a note ({len(stimuli.notes):,})")
        _remarks(stimuli.notes, f"{key}_notes")
    if not stimuli.excluded:
        st.caption("No row was left out.")


def _remarks(remarks: tuple[Remark, ...], key: str) -> None:
    rows = [
        [
            show_plain(one.file, 80),
            ", ".join(map(str, one.rows[:20])) + (" ..." if len(one.rows) > 20 else ""),
            show_plain(one.kind, 80),
            show_plain(one.statement, 300),
        ]
        for one in remarks[:MOST_REMARKS]
    ]
    st.dataframe(
        pd.DataFrame(rows, columns=["file", "rows", "kind", "why"]),
        hide_index=True,
        key=key,
        height=min(38 + 35 * len(rows), 300),
        alt=f"{len(remarks)} remarks on rows",
    )
    if len(remarks) > MOST_REMARKS:
        st.caption(f"The first {MOST_REMARKS:,} of {len(remarks):,}.")
