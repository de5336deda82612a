"""What the views of a prompt share: whether a part is there, its tokens, what it rests on."""

import io
from collections.abc import Collection
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from inspector.model.records import LensPoint
from inspector.pages import frame
from inspector.results import show_plain
from inspector.weights.stored_judgements import Kept

PARTS = {
    "lens": "Lens",
    "attention": "Attention",
    "maps": "Maps",
    "ablate": "Ablation",
    "activations": "Signals",
}
Found = dict[str, Kept | None]


def refused(kept: Kept | None) -> bool:
    """Whether a part is not there; says why."""
    if kept is None:
        st.caption("Not there yet.")
        return True
    if (why := kept.summary.get("refused")) is not None:
        st.info("This cannot be shown for this model and prompt:")
        st.text(show_plain(str(why), 500))
        return True
    return False


def is_there(kept: Kept | None) -> bool:
    """Whether a part has come and was not refused."""
    return kept is not None and "refused" not in kept.summary


def tokens_of(found: Found) -> list[tuple[str, str]]:
    """Name in the vocabulary and text of each token, from the part that has them."""
    maps, lens = found["maps"], found["lens"]
    if maps is not None and is_there(maps):
        return [(record.token, record.text) for record in maps]
    if lens is not None and is_there(lens) and lens.summary["kind"] != "encoder-decoder":
        first: list[LensPoint] = [record for record in lens if record.layer is None]
        return [(record.text or "", record.text or "") for record in first]
    return []


def from_link(key: str, options: Collection[str]) -> None:
    """Let the page's address choose what the widget of this key begins with."""
    forget_unless(key, options)
    linked = st.query_params.get(key)
    if key not in st.session_state and linked in options:
        st.session_state[key] = linked


def forget_unless(key: str, options: Collection[str]) -> None:
    """Let a widget begin anew whose choice, made for another model or prompt, is none here."""
    chosen = st.session_state.get(key)
    if chosen is not None and not set(chosen if isinstance(chosen, list) else [chosen]) <= {
        *options
    }:
        del st.session_state[key]


def rests_on(kept: Kept, way: str | None = None) -> None:
    """What the numbers rest on: the share of the model, where and in what it ran, and how."""
    st.header("What this rests on")
    frame.coverage(kept)
    source = kept.source
    told = f"Computed in {source.dtype} on {source.device}."
    if way:
        told += f" Attention {show_plain(way, 300)}."
    st.text(told)


def downloads(there: dict[str, Kept]) -> None:
    """One of several results to take away."""
    chosen: Any = next(iter(there))
    if len(there) > 1:
        forget_unless("download", there)
        chosen = st.selectbox(
            "Download", list(there), format_func=lambda name: PARTS[name], key="download"
        )
    if chosen is not None:
        kept = there[chosen]
        frame.downloads(kept, ("json", "csv", "html"), f"{chosen}_download")
        if kept.arrays:
            st.download_button(
                "Download NPZ",
                data=partial(_arrays, kept),
                file_name=f"{kept.command}.npz",
                on_click="ignore",
                key="arrays_download",
                help="The maps themselves, as numpy arrays.",
            )


def _arrays(kept: Kept) -> bytes:
    """The arrays of a result as numpy keeps them."""
    buffer = io.BytesIO()
    save: Any = np.savez_compressed  # its stub takes the names of arrays for its own options
    save(buffer, **kept.arrays)
    return buffer.getvalue()
