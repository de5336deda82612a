"""What the views of judgements share: rows by layer, one tensor's records, tables, downloads."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from inspector.pages import frame, waiting
from inspector.results import Records, show_plain
from inspector.weights.architecture import Placement
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.judgements import JUDGEMENTS
from inspector.weights.makeup import block_label
from inspector.weights.matrices import load, matrices
from inspector.weights.spectrum import Spectra
from inspector.weights.stored_judgements import Kept, judgement_key

MOST_ROWS = 5000  # of a table; more are in the download
LONGEST_SIDE = 1024  # of the shorter sides: a spectrum is looked at well within a second
SINGULAR = "spectrum"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class OfTensor:
    """A judgement's records of one tensor; `arrays`: singular values by the record's name."""

    records: tuple[Any, ...]
    arrays: Mapping[str, np.ndarray]
    skipped: str | None
    heads: bool


def of(checkpoint: Checkpoint, record_name: str) -> str:
    """The tensor a record is about, whose name may go on with the part, expert or head."""
    name = record_name
    while name not in checkpoint.architecture.placements and "[" in name:
        name = name.rpartition("[")[0]
    return name


def placement(checkpoint: Checkpoint, record_name: str) -> Placement:
    """Where the tensor of a record belongs."""
    return checkpoint.architecture.placements[of(checkpoint, record_name)]


def placed(checkpoint: Checkpoint, kept: Kept) -> pd.DataFrame:
    """The records as a table with `block`, their layer in words, in the order of depth."""
    return _placed(judgement_key(checkpoint, kept.command), checkpoint, kept).copy()


# The id stands for the checkpoint: its headers, files and the code are in it.
@st.cache_resource(max_entries=8, show_spinner=False)
def _placed(id: str, _checkpoint: Checkpoint, _kept: Kept) -> pd.DataFrame:
    stacks = [placement(_checkpoint, record.name).stack for record in _kept]
    layers = [record.layer for record in _kept]
    blocks = [block_label(s, n) for s, n in zip(stacks, layers, strict=True)]
    depth = [(n is not None, s or "", n or 0) for s, n in zip(stacks, layers, strict=True)]
    order = sorted(range(len(depth)), key=depth.__getitem__)
    return _kept.to_frame().assign(block=blocks).iloc[order].reset_index(drop=True)


def of_tensor(checkpoint: Checkpoint, command: str, name: str) -> OfTensor | None:
    """A small tensor is judged at once; of a large one the judgement of the model has the records.

    None while that is being made.
    """
    entry = checkpoint.tensor(name)
    sides = sorted(entry.shape)[-2:]
    large = entry.bytes > waiting.AT_ONCE or (command == SINGULAR and sides[0] > LONGEST_SIDE)
    if not large:
        return _judged(judgement_key(checkpoint, command), command, name, checkpoint)
    kept = waiting.judged(checkpoint, command)
    return None if kept is None else _only(kept, kept.arrays, checkpoint, name)


@st.cache_resource(max_entries=16, show_spinner="Measuring the tensor")
def _judged(id: str, command: str, name: str, _checkpoint: Checkpoint) -> OfTensor:
    options = {"heads": True} if command == SINGULAR else {}
    owner = f"{name.removesuffix('bias')}weight"  # whose inputs tell how a bias was drawn
    names = (name, owner) if command == "init" else (name,)
    made = JUDGEMENTS[command].measure(_checkpoint, where=exactly(*names), **options)
    arrays = made.singular if isinstance(made, Spectra) else {}
    return dataclasses.replace(_only(made, arrays, _checkpoint, name), heads=True)


def _only(
    made: Records[Any], arrays: Mapping[str, np.ndarray], checkpoint: Checkpoint, name: str
) -> OfTensor:
    records = tuple(r for r in made.records if of(checkpoint, r.name) == name)
    told = show_plain(name)
    skipped = next((s.reason for s in made.coverage.skipped if s.name == told), None)
    return OfTensor(records=records, arrays=arrays, skipped=skipped, heads=False)


def exactly(*names: str) -> str:
    """A regular expression that finds these names only."""
    return rf"\A({'|'.join(map(re.escape, names))})\Z"


def values_of(checkpoint: Checkpoint, name: str, record_name: str) -> np.ndarray:
    """The values of a tensor, or of the part or expert of it that a record is about."""
    found, _ = matrices(checkpoint, exactly(name))
    with checkpoint.reader() as reader:
        return load(next(m for m in found if m.name == record_name), reader)


def piece(found: OfTensor, key: str) -> Any:
    """The record to look at: of many parts, experts or heads the chosen one."""
    if not found.records:
        st.text(f"Not judged: {found.skipped or 'it is no matrix of weights.'}")
        return None
    names = list(dict.fromkeys(record.name for record in found.records))
    if len(names) == 1:
        return found.records[0]
    chosen = st.selectbox(
        "Part, expert or head", names, format_func=lambda name: show_plain(name, 200), key=key
    )
    return next(record for record in found.records if record.name == chosen)


def open_row(
    table: pd.DataFrame,
    columns: Mapping[str, str],
    view: str,
    key: str,
    alt: str,
    percent: Sequence[str] = (),
) -> None:
    """A table of matrices, `columns` by what they are called in it; a row opens its tensor.

    `percent` names the columns that are shares.
    """
    shown = table.head(MOST_ROWS)
    plain = shown.assign(name=shown["name"].map(show_plain))[list(columns)]
    forms = {columns[c]: frame.FOUR_DIGITS for c in plain if pd.api.types.is_float_dtype(plain[c])}
    shares = {columns[c]: st.column_config.NumberColumn(format="percent") for c in percent}
    wide = {"tensor": st.column_config.TextColumn(width=290)}
    event = st.dataframe(
        plain.rename(columns=columns),
        hide_index=True,
        key=key,
        on_select="rerun",
        selection_mode="single-row",
        column_config=forms | shares | wide,
        alt=alt,
    )
    if len(table) > MOST_ROWS:
        st.caption(f"The first {MOST_ROWS:,} of {len(table):,}; the download has all.")
    if event.selection.rows and event.selection.rows[0] < len(shown):
        opened = of(frame.current(), str(shown["name"].iloc[event.selection.rows[0]]))
        frame.go("tensor", tensor=opened, show=view)


def end(checkpoint: Checkpoint, result: Kept) -> None:
    """What was found and left out, what the numbers rest on, and all of it to take away."""
    known = {(f.id, f.where) for f in (*checkpoint.findings, *checkpoint.architecture.findings)}
    own = tuple(f for f in result.findings if (f.id, f.where) not in known)
    if own:
        st.header(f"Findings ({len(own):d})")
        frame.findings_table(own, f"{result.command}_findings")
    if result.coverage.skipped:
        with st.expander(f"Not measured ({len(result.coverage.skipped):,})"):
            st.dataframe(
                pd.DataFrame(
                    [[s.name, s.reason] for s in result.coverage.skipped[:MOST_ROWS]],
                    columns=["tensor", "why"],
                ),
                hide_index=True,
                key=f"{result.command}_skipped",
                alt=f"{len(result.coverage.skipped)} tensors without this measure, and why",
            )
    frame.coverage(result)
    frame.downloads(result, ("json", "csv", "html"), f"{result.command}_download")


def more() -> None:
    """Where the measures of all views are explained at length."""
    st.caption(
        "What is known about each number, and what is not: “How to read these numbers”, "
        "`docs/numbers.md` of the project."
    )
