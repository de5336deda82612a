"""Heads by kind over many prompts, and signals and silent units on the same texts."""

import pandas as pd
import streamlit as st

from inspector.model.records import HeadAttention
from inspector.model.samples import sample_texts, why_not
from inspector.pages import frame, signals_view, waiting
from inspector.pages.attention_view import chosen_head
from inspector.pages.prompt_parts import downloads, forget_unless, rests_on
from inspector.report import charts_attention
from inspector.report.prompt_words import KIND_MARKS, METRIC_WORDS, UNCLEAR, UNCLEAR_RULE
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.stored_judgements import Kept

MOST_TEXTS = 1000
HEADS, SIGNALS = "taxonomy", "signals"  # where the session remembers what was measured on


def show(checkpoint: Checkpoint) -> None:
    """Texts to measure on, then heads by kind and signals on them."""
    st.write(
        "What kind each head is, measured over many texts: a kind is said only where a head "
        "stands clear of what attention without aim would give."
    )
    _form(checkpoint)
    texts = _texts_of(checkpoint, HEADS, "attention")
    if texts is not None:
        kept = waiting.answered(checkpoint, "attention", texts=texts)
        if kept is not None:
            _heads(kept)
    texts = _texts_of(checkpoint, SIGNALS, "activations")
    if texts is not None:
        signals_view.show(waiting.answered(checkpoint, "activations", texts=texts))


def _form(checkpoint: Checkpoint) -> None:
    """One text a line, and what to measure on them."""
    if st.session_state.get("texts_of") != checkpoint.model:
        st.session_state["texts_of"] = checkpoint.model
        held = st.session_state.get(HEADS, {}).get(checkpoint.model)
        st.session_state["texts"] = "\n".join(held or sample_texts(checkpoint))
    with st.form("texts_form", border=True):
        typed = st.text_area("Texts, one a line", key="texts", height=240)
        with st.container(horizontal=True):
            heads = st.form_submit_button("Name the heads", type="primary", key="ask_heads")
            signals = st.form_submit_button("Measure signals", key="ask_signals")
    if not (heads or signals):
        return
    texts = [line.strip() for line in typed.splitlines() if line.strip()]
    wrong = next((why for text in texts if (why := why_not(text)) is not None), None)
    if not texts:
        wrong = "There is no text: type at least one line."
    elif len(texts) > MOST_TEXTS:
        wrong = f"There are {len(texts):,} texts; at most {MOST_TEXTS:,} are read here."
    if wrong is not None:
        st.warning("These texts cannot be measured:")
        st.text(wrong)
        return
    st.session_state.setdefault(HEADS if heads else SIGNALS, {})[checkpoint.model] = texts


def _texts_of(checkpoint: Checkpoint, what: str, command: str) -> list[str] | None:
    """The texts measured on last; at first those of the package, if they were measured before."""
    asked: list[str] | None = st.session_state.get(what, {}).get(checkpoint.model)
    if asked is not None:
        return asked
    texts = list(sample_texts(checkpoint))
    known = waiting.answered_before(checkpoint, command, texts=texts)
    return None if known is None else texts


def _heads(kept: Kept) -> None:
    heads: list[HeadAttention] = list(kept)
    st.header("Heads by kind")
    summary = kept.summary
    st.text(
        f"{len(heads)} heads on {summary['texts']} texts of {summary['tokens']:,} tokens. "
        f"The label is {summary['label_rule']} (p at most {summary['alpha']})."
    )
    picked = frame.draw(charts_attention.kinds(heads), "kinds", charts_attention.PICK)
    _legend(kept)
    st.subheader("One head")
    head = chosen_head(heads, picked, "kind_head")
    known = "" if head.label_p is None else f", p = {head.label_p:.2g} corrected over all heads"
    st.text(f"Kind: {head.label}{known}. Ranges: {summary['interval']}, {head.texts} texts.")
    frame.draw(charts_attention.ranges(head), "head_ranges")
    _table(heads)
    if kept.findings:
        st.header(f"Findings ({len(kept.findings):d})")
        frame.findings_table(kept.findings, "taxonomy_findings")
    rests_on(kept, f"{summary['way']}: {summary['way_reason']}")
    downloads({"attention": kept})


def _legend(kept: Kept) -> None:
    """The rule of every kind."""
    rules = {**kept.summary["kinds"], UNCLEAR: UNCLEAR_RULE}
    counts = kept.summary["labels"]
    rows = [
        [KIND_MARKS[kind][0], kind, counts.get(kind, 0), show_plain(rule, 300)]
        for kind, rule in rules.items()
    ]
    table = pd.DataFrame(rows, columns=["letter", "kind", "heads", "rule"])
    st.dataframe(
        table,
        hide_index=True,
        key="kind_rules",
        row_height=56,
        column_config={"rule": st.column_config.TextColumn(width="large")},
        alt=f"The rules of {len(table)} kinds; a head has the first that it clears",
    )


def _table(heads: list[HeadAttention]) -> None:
    """Every head with one metric, its range and null."""
    st.subheader("Every head")
    known = charts_attention.known_metrics(heads)
    forget_unless("kinds_metric", known)
    metric = st.selectbox(
        "Metric",
        known,
        format_func=lambda name: METRIC_WORDS[name].title,
        key="kinds_metric",
    )
    words = METRIC_WORDS[metric]
    st.write(words.about)
    table = charts_attention.metric_table(heads, metric)
    table.insert(3, "p", [head.label_p for head in heads])
    numbers = ["p", "value", "low", "high", "null", "difference"]
    st.dataframe(
        table.rename(columns={"block": "layer", "label": "kind"}),
        hide_index=True,
        key="every_head",
        placeholder="",
        column_config=dict.fromkeys(numbers, frame.FOUR_DIGITS),
        alt=f"{len(table)} heads, {words.title} beside its null",
    )
