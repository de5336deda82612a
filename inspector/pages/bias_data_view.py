"""What a probe asks about: where it comes from, how much there is, and what was left out."""

import dataclasses
from typing import Final

import pandas as pd
import streamlit as st

from inspector.pages import frame, material, probe_parts
from inspector.pages.bias_form import Chosen
from inspector.pages.prompt_parts import forget_unless
from inspector.report import charts_bias
from inspector.report.document import csv_cell
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint

MOST_ITEMS: Final = 2000
HIDDEN: Final = ("file", "facts")


def show(checkpoint: Checkpoint, chosen: Chosen) -> None:
    """Provenance, counts, what was left out; items only on a click."""
    stimuli = chosen.stimuli
    about = stimuli.about
    st.header("The data")
    st.text(f"{show_plain(about.title, 200)}\n{show_plain(about.measures, 300)}")
    frame.metrics(
        {
            "items": f"{len(stimuli.items):,}",
            "categories": f"{len(stimuli.categories()):,}",
            "rows read": f"{stimuli.rows:,}",
            "left out": f"{len(stimuli.excluded):,}",
            "noted": f"{len(stimuli.notes):,}",
        }
    )
    _provenance(chosen)
    counts = stimuli.categories()
    if len(counts) > 1:
        st.subheader("By category")
        frame.draw(charts_bias.counts(counts), "categories")
    material.left_out(stimuli, "bias")
    if stimuli.excluded:
        st.download_button(
            "Download what was left out",
            data=_left_out(chosen),
            file_name="left-out.csv",
            on_click="ignore",
            key="bias_rejects",
        )
    _items(chosen)
    probe_parts.criticism(chosen.kind)
    probe_parts.limits()


def _provenance(chosen: Chosen) -> None:
    about, stimuli = chosen.stimuli.about, chosen.stimuli
    rows = [
        ("licence", about.licence),
        ("made by", about.citation),
        ("where it is kept", about.upstream),
        ("read from", stimuli.origin),
        ("sha256", stimuli.sha256),
        *(("file", f"{one.name}, {one.bytes:,} bytes, {one.sha256}") for one in stimuli.files[:50]),
        ("without bias", about.ideal),
    ]
    st.dataframe(
        pd.DataFrame(
            [[name, show_plain(value, 300)] for name, value in rows], columns=["what", "value"]
        ),
        hide_index=True,
        key="bias_provenance",
        height="content",
        alt="Where the data comes from, its licence and its sha256",
    )


def _left_out(chosen: Chosen) -> bytes:
    """The rows that were left out, as CSV."""
    rows = [
        [
            csv_cell(one.file),
            " ".join(map(str, one.rows)),
            csv_cell(one.kind),
            csv_cell(one.statement),
        ]
        for one in chosen.stimuli.excluded
    ]
    text: str = pd.DataFrame(rows, columns=["file", "rows", "kind", "why"]).to_csv(index=False)
    return text.encode()


def _items(chosen: Chosen) -> None:
    st.subheader("The items")
    st.caption("They repeat stereotypes and can offend: they are shown when you ask for them.")
    if not st.toggle("Show the items", key="bias_show_data"):
        return
    counts = ["all", *chosen.stimuli.categories()]
    forget_unless("bias_data_category", counts)
    category = st.selectbox(
        "Category", counts, format_func=lambda one: show_plain(one, 80), key="bias_data_category"
    )
    items = [one for one in chosen.stimuli.items if category in ("all", one.category)]
    rows = [
        {
            field.name: _cell(getattr(item, field.name))
            for field in dataclasses.fields(item)
            if field.name not in HIDDEN
        }
        for item in items[:MOST_ITEMS]
    ]
    st.dataframe(
        pd.DataFrame(rows).dropna(axis=1, how="all"),
        hide_index=True,
        lazy=False,
        height=420,
        key="bias_data_items",
        alt=f"{len(rows)} items",
    )
    if len(items) > MOST_ITEMS:
        st.caption(f"The first {MOST_ITEMS:,} of {len(items):,}.")


def _cell(value: object) -> object:
    if isinstance(value, int | float | None) and not isinstance(value, bool):
        return value
    if isinstance(value, tuple | list):
        return show_plain(", ".join(map(str, value)), 300)
    return show_plain(str(getattr(value, "text", value)), 300)
