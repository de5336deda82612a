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
    size = kept.summary["positions"]
    shown = _window(size, kept.summary["answer_position"])
    near = [point for i, point in enumerate(points) if i % size in shown]  # layer by layer
    colour = st.selectbox(
        "Colour",
        list(charts_lens.COLOURS),
        format_func=lambda name: charts_lens.COLOURS[name],
        key="lens_colour",
    )
    chart = charts_lens.grid(near, charts_lens.places(near), colour)
    picked = frame.draw(chart, "lens", charts_lens.PICK)
    _one_cell(points, picked, kept)


def _in_short(checkpoint: Checkpoint, kept: Kept, points: list[LensPoint]) -> None:
    at = kept.summary["answer_position"]
    last = points[at :: kept.summary["positions"]][-1]
    settled = kept.summary["settled"]
    when = f"settled from {settled} on" if settled else "settled after the last layer only"
    st.text(f"Final answer: {show_plain(last.answer, 60)} ({last.answer_probability:.4f}), {when}.")
    words = (checkpoint.config or {}).get("vocab_size")
    if isinstance(words, int) and words > 1 and kept.summary["kind"] != "classifier":
        st.caption(
            f"For comparison: knowing nothing is an entropy of {math.log(words):.3f} nats, a "
            f"probability of {1 / words:.2g} for each of {words:,} words."
        )


def _window(size: int, answer: int) -> range:
    """The positions to draw; of many a stretch that can be moved."""
    most = charts_lens.MOST_PLACES
    if size <= most:
        return range(size)
    first = st.slider(
        f"First of {most:d} positions shown",
        0,
        size - most,
        max(0, min(answer - most + 1, size - most)),
        key=f"lens_first_{size}",
    )
    return range(first, first + most)


def _one_cell(points: list[LensPoint], picked: dict[str, str], kept: Kept) -> None:
    """The position and layer that were picked, else those of the answer."""
    size = kept.summary["positions"]
    places = [charts_lens.place(point) for point in points[:size]]
    place = picked.get("place")
    at = places.index(place) if place in places else kept.summary["answer_position"]
    way = points[at::size]
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
