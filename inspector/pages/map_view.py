"""The map of one head on one prompt: raw, weighted by what is passed on, and through all layers."""

import numpy as np
import streamlit as st

from inspector.model.records import HeadAttention
from inspector.model.samples import Asked
from inspector.pages import frame, waiting
from inspector.pages.prompt_parts import forget_unless, is_there
from inspector.report import charts_attention
from inspector.report.charts import Chart
from inspector.report.prompt_words import MAP_WORDS
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.stored_judgements import Kept


def show(checkpoint: Checkpoint, asked: Asked, maps: Kept | None, head: HeadAttention) -> None:
    """The head's map from those of all heads, or from a run of its own where these were too many.

    Nothing is run for it without a click.
    """
    held = _held(maps, head)
    if maps is None:
        st.caption("Its map is not there yet.")
        return
    if held is None:
        held = _own(checkpoint, asked, maps, head)
    if held is not None:
        _drawn(held, _place(held, head))


def _held(maps: Kept | None, head: HeadAttention) -> Kept | None:
    """The maps, if they have this head."""
    if maps is None or not is_there(maps) or (maps.summary["stack"] or "") != head.stack:
        return None
    return maps if [head.layer, head.head] in _heads(maps) else None


def _heads(maps: Kept) -> list[list[int]]:
    return [list(pair) for pair in maps.summary["heads"]]


def _place(maps: Kept, head: HeadAttention) -> int:
    return _heads(maps).index([head.layer, head.head])


def _own(checkpoint: Checkpoint, asked: Asked, maps: Kept, head: HeadAttention) -> Kept | None:
    """A run for this head alone, once it was asked for."""
    question = {"text": asked.text, "heads": [[head.layer, head.head]], "stack": head.stack}
    if (kept := waiting.answered_before(checkpoint, "maps", **question)) is not None:
        return kept
    if (why := maps.summary.get("refused")) is not None:
        st.text(show_plain(str(why), 500))
    wanted = (checkpoint.model, asked.text, head.stack, head.layer, head.head)
    if st.button("Map this head alone", key="map_head"):
        st.session_state["map_wanted"] = wanted
    if st.session_state.get("map_wanted") != wanted:
        return None
    return waiting.answered(checkpoint, "maps", **question)


def _drawn(maps: Kept, place: int) -> None:
    tokens = [record.text or record.token for record in maps]
    own_ways = ["weights"]
    own_ways += ["value_weighted"] if "value_norms" in maps.arrays else []
    own_ways += [name for name in ("rollout", "flow") if name in maps.arrays]
    left, right = st.columns([3, 2], vertical_alignment="center")
    forget_unless("map_way", own_ways)
    way = left.segmented_control(
        "Map",
        own_ways,
        default="weights",
        required=True,
        format_func=lambda name: MAP_WORDS[name].title,
        key="map_way",
    )
    bare = right.toggle("Without the first token (sink)", key="no_sink")
    if "flow" not in maps.arrays:
        st.caption("Flow through all layers is computed for at most 64 tokens.")
    way = way or "weights"
    words = MAP_WORDS[way]
    st.write(words.about)
    if bare:
        st.caption(
            "The first token is taken out"
            + (
                ", and each row scaled to 1 again: what it got is not seen here. The first row "
                "has nothing left."
                if way in ("weights", "rollout")
                else "; what is left keeps its size."
            )
        )
    frame.draw(chart_of(maps, place, way, bare, tokens), f"map_{way}")


def chart_of(maps: Kept, place: int, way: str, bare: bool, tokens: list[str]) -> Chart:
    """The map of the head at `place` in one of MAP_WORDS; `bare`: without the first token."""
    if way == "flow":
        values = maps.arrays["flow"].copy()
        if bare:
            values[0] = 0
        return charts_attention.token_bars(values, tokens, way)
    rows = maps.arrays["rollout"] if way == "rollout" else maps.arrays["weights"][place]
    if way == "value_weighted":
        rows = rows * maps.arrays["value_norms"][place]
        if bare:
            rows = rows.copy()
            rows[:, 0] = 0
    elif bare:
        rows = charts_attention.without_first(rows)
    return charts_attention.token_map(rows, tokens, way, _first(rows))


def _first(rows: np.ndarray) -> tuple[int, int]:
    """Where the part of a large map begins that is drawn."""
    most = charts_attention.MOST_SIDE
    if len(rows) <= most:
        return 0, 0
    st.caption(
        f"The map has {len(rows):,} tokens a side; {most:d} by {most:d} are drawn at a time."
    )
    left, right = st.columns(2)
    last = len(rows) - most
    looking = left.slider("First token that looks", 0, last, last, key=f"map_rows_{last}")
    looked_at = right.slider("First token looked at", 0, last, last, key=f"map_columns_{last}")
    return looking, looked_at
