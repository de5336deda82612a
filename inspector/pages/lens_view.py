"""The lens: what a model would answer after each layer."""

import math

import streamlit as st

from inspector.model.records import LensPoint
from inspector.pages import frame
from inspector.pages.prompt_parts import refused
from inspector.report import charts_lens
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.stored_judgements import Kept


def show(checkpoint: Checkpoint, kept: Kept | None) -> None:
    """Layer by position, then the position that is picked."""
    st.header("Lens")
    st.write(
        "What the model would answer if it stopped after each layer: its stream is put through "
        f"the model's own last steps. {charts_lens.AGREES} marks the final answer of that place. "
        "Early layers may speak in words that mean nothing yet: the last steps were not trained "
        "for them."
    )
    if refused(kept):
        return
    assert kept is not None
    points: list[LensPoint] = list(kept)
    if kept.summary["kind"] == "encoder-decoder":
        st.caption("Positions are those of the answer that the decoder begins, not of the text.")
    _in_short(checkpoint, kept, points)
    names = charts_lens.places(points)
    shown = _window(names, kept.summary["answer_position"])
    colour = st.selectbox(
        "Colour",
        list(charts_lens.COLOURS),
        format_func=lambda name: charts_lens.COLOURS[name],
        key="lens_colour",
    )
    chart = charts_lens.grid(points, shown, colour)
    picked = frame.draw(chart, "lens", charts_lens.PICK)
    _one_cell(points, names, picked, kept)


def _in_short(checkpoint: Checkpoint, kept: Kept, points: list[LensPoint]) -> None:
    at = kept.summary["answer_position"]
    last = _at(points, charts_lens.places(points)[at])[-1]
    settled = kept.summary["settled"]
    when = f"settled from {settled} on" if settled else "settled after the last layer only"
    st.text(f"Final answer: {show_plain(last.answer, 60)} ({last.answer_probability:.4f}), {when}.")
    words = (checkpoint.config or {}).get("vocab_size")
    if isinstance(words, int) and words > 1 and kept.summary["kind"] != "classifier":
        st.caption(
            f"For comparison: knowing nothing is an entropy of {math.log(words):.3f} nats, a "
            f"probability of {1 / words:.2g} for each of {words:,} words."
        )


def _window(names: list[str], answer: int) -> list[str]:
    """The positions to draw; of many a stretch that can be moved."""
    most = charts_lens.MOST_PLACES
    if len(names) <= most:
        return names
    first = st.slider(
        f"First of {most:d} positions shown",
        0,
        len(names) - most,
        max(0, min(answer - most + 1, len(names) - most)),
        key="lens_first",
    )
    return names[first : first + most]


def _at(points: list[LensPoint], place: str) -> list[LensPoint]:
    return [point for point in points if charts_lens.place(point) == place]


def _one_cell(
    points: list[LensPoint], names: list[str], picked: dict[str, str], kept: Kept
) -> None:
    """The position and layer that were picked, else those of the answer."""
    default = names[kept.summary["answer_position"]]
    place = picked.get("place", default)
    way = _at(points, place if place in names else default)
    point = next((one for one in way if one.name == picked.get("layer")), way[-1])
    st.subheader("One place")
    st.text(f"At {charts_lens.place(point)}, after {point.name}. Click a cell above for another.")
    frame.metrics(
        {
            "entropy, nats": frame.number(point.entropy),
            "KL from final, nats": frame.number(point.divergence),
            "rank of final answer": f"{point.answer_rank:,}",
            "its probability": frame.number(point.answer_probability),
        }
    )
    left, right = st.columns(2)
    with left:
        frame.draw(charts_lens.top(point), "lens_top")
    with right:
        frame.draw(charts_lens.depth(way), "lens_depth")
