"""Attention on one prompt: every head, then one head's map and what it does to the answer."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st
from scipy.stats import spearmanr

from inspector.model.records import Ablation, HeadAttention
from inspector.model.samples import Asked, sample_texts
from inspector.pages import frame, map_view, waiting
from inspector.pages.prompt_parts import Found, from_link, is_there, refused
from inspector.report import charts_attention
from inspector.report.prompt_words import METRIC_WORDS, UNCLEAR
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.stored_judgements import Kept

STRONG = 0.25  # of the way from uniform attention to certainty, as a head's kind needs
LITTLE = 0.1  # of the largest effect of any head: less is little
FEWEST = 4  # heads for a rank correlation


def show(checkpoint: Checkpoint, asked: Asked, found: Found) -> None:
    """Layer by head in any metric, then the head that is picked."""
    st.header("Attention")
    st.write(
        "Where each head looks, beside what uniform attention, the same to every token in sight, "
        "would give (the null). A number far from its null says that a head looks somewhere on "
        "purpose, not that it matters."
    )
    if refused(found["attention"]):
        return
    assert found["attention"] is not None
    heads: list[HeadAttention] = list(found["attention"])
    metric, signed = _metric(heads)
    chart = charts_attention.grid(heads, metric, signed)
    picked = frame.draw(chart, "attention", charts_attention.PICK)
    st.subheader("One head")
    head = chosen_head(heads, picked, "head")
    _numbers(head, found["attention"])
    map_view.show(checkpoint, asked, found["maps"], head)
    ablated = _ablated(found["ablate"])
    st.subheader("What this head does")
    _effect(head, ablated, found["ablate"])
    _label(checkpoint, head)
    _compared(heads, metric, ablated)


def _metric(heads: Sequence[HeadAttention]) -> tuple[str, bool]:
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    known = charts_attention.known_metrics(heads)
    from_link("metric", known)
    metric = left.selectbox(
        "Metric", known, format_func=lambda name: METRIC_WORDS[name].title, key="metric"
    )
    st.query_params["metric"] = metric
    signed = right.toggle("Colour by the distance from uniform attention", value=True, key="signed")
    words = METRIC_WORDS[metric]
    st.write(words.about)
    return metric, signed


def chosen_head(
    heads: Sequence[HeadAttention], picked: dict[str, object], key: str
) -> HeadAttention:
    """The head of the last click, or of the list below it; its name is in the page's address."""
    names = {f"{charts_attention.block_of(h)}.{h.head}": h for h in heads}
    from_link(key, names)
    before = st.session_state.get(f"{key}_picked", {})
    if picked != before:
        st.session_state[f"{key}_picked"] = picked
        name = f"{picked.get('block')}.{picked.get('head')}"
        if name in names:
            st.session_state[key] = name
    sharpest = max(names, key=lambda name: _sharpness(names[name]))
    chosen = st.selectbox(
        "Head (or click one above)",
        list(names),
        index=list(names).index(sharpest),
        width=320,
        format_func=lambda name: (
            f"{charts_attention.spoken(name.rpartition('.')[0])}, head {names[name].head}"
        ),
        key=key,
    )
    st.query_params[key] = chosen
    return names[chosen]


def _sharpness(head: HeadAttention) -> float:
    if head.entropy_normalised is None or head.entropy_normalised_null is None:
        return 0.0
    return head.entropy_normalised_null - head.entropy_normalised


def _numbers(head: HeadAttention, kept: Kept) -> None:
    """Every metric of the head beside its null."""
    names = ("entropy_normalised", "sink_mass", "previous_token", "confidence", "induction")
    told = {}
    for name in names:
        value, null = getattr(head, name), getattr(head, f"{name}_null")
        if value is not None:
            beside = "" if null is None else f" · uniform {null:.3f}"
            told[METRIC_WORDS[name].title + beside] = f"{value:.3f}"
    frame.metrics(told)
    if head.sink_mass is not None and head.sink_mass_null is not None:
        first = kept.summary["first_token"]
        named = "" if first is None else f", {show_plain(str(first), 40)}"
        st.text(
            f"Sink: {head.sink_mass:.1%} of its attention goes to the first token{named}; uniform "
            f"attention gives it {head.sink_mass_null:.1%}."
        )


def _ablated(kept: Kept | None) -> dict[tuple[str, int | None, int | None], Ablation]:
    """What switching off each head did, by stack, layer and head; a decoder's own attention."""
    if kept is None or not is_there(kept):
        return {}
    heads = [r for r in kept if r.component == "head" and r.part in ("", "self")]
    return {(r.stack, r.layer, r.head): r for r in heads}


def _effect(
    head: HeadAttention,
    ablated: dict[tuple[str, int | None, int | None], Ablation],
    kept: Kept | None,
) -> None:
    """What ablating the head does, and whether that fits how it looks."""
    record = ablated.get((head.stack, head.layer, head.head))
    if record is None:
        if not refused(kept):
            st.text("This head was not switched off.")
        return
    sizes = sorted((abs(r.answer_change) for r in ablated.values()), reverse=True)
    rank = sizes.index(abs(record.answer_change)) + 1
    changes = [r.answer_change for r in ablated.values()]
    loss = "" if record.loss_change is None else f", the loss by {record.loss_change:+.4g} nats"
    stays = "stays" if record.kept == 1 else "becomes another"
    st.text(
        f"Without it the answer changes by {record.answer_change:+.4g} nats{loss}; the likeliest "
        f"answer {stays}. By size that is number {rank} of {len(sizes)} heads, whose changes go "
        f"from {min(changes):+.4g} to {max(changes):+.4g}."
    )
    strong = (
        head.confidence is not None
        and head.confidence_null is not None
        and head.confidence > head.confidence_null + STRONG * (1 - head.confidence_null)
    )
    little = abs(record.answer_change) <= LITTLE * sizes[0] and record.kept == 1
    if strong and little:
        st.info(
            "**Attention is not effect, here**: this head looks firmly at few tokens, and the "
            "answer hardly changes without it."
        )
    elif not strong and rank <= max(1, len(sizes) // 10):
        st.info(
            "**Attention is not effect, here**: this head looks about evenly, and yet the answer "
            "hangs on it more than on nine of ten others."
        )


def _label(checkpoint: Checkpoint, head: HeadAttention) -> None:
    """The head's kind, from many prompts if they were measured: one prompt allows none."""
    texts = list(sample_texts(checkpoint))
    before = st.session_state.get("taxonomy", {}).get(checkpoint.model, texts)
    kept = waiting.answered_before(checkpoint, "attention", texts=before)
    if kept is None or not is_there(kept):
        st.caption("Its kind is not known: one prompt allows none. See the view of all heads.")
        return
    place = (head.stack, head.layer, head.head)
    known = next((r for r in kept if (r.stack, r.layer, r.head) == place), None)
    if known is not None and known.label != UNCLEAR:
        st.text(f"Kind over {known.texts} texts: {known.label} (p = {known.label_p:.2g}).")
    elif known is not None:
        st.text(f"Kind over {known.texts} texts: unclear, none stands clear of its null.")


def _compared(
    heads: Sequence[HeadAttention],
    metric: str,
    ablated: dict[tuple[str, int | None, int | None], Ablation],
) -> None:
    """Attention against effect, over all heads."""
    table = charts_attention.metric_table(heads, metric)
    found = [ablated.get((h.stack, h.layer, h.head)) for h in heads]
    table["change"] = [np.nan if r is None else r.answer_change for r in found]
    table = table.dropna(subset=["difference", "change"])
    if len(table) < FEWEST:
        return
    st.subheader("Attention and effect, all heads")
    sizes = table["difference"].abs(), table["change"].abs()
    constant = any(size.nunique() < 2 for size in sizes)
    rank = None if constant else float(spearmanr(*sizes).statistic)
    columns = ["block", "head", "difference", "change"]
    chart = charts_attention.effect(pd.DataFrame(table[columns]), metric, rank)
    frame.draw(chart, "attention_effect")
