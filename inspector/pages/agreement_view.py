"""The same question to every method and to attention, and through the layers."""

import dataclasses

import pandas as pd
import streamlit as st

from inspector import jobs
from inspector.model.methods import METHODS
from inspector.model.records import LayerScore
from inspector.model.stored import answer_key
from inspector.pages import frame, waiting
from inspector.pages.attribution_form import Question, ask_again
from inspector.pages.attribution_view import window
from inspector.report import attribution_words as words
from inspector.report import charts_agreement, charts_attribution
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.makeup import block_label
from inspector.weights.stored_judgements import Kept

OPTIONS = {  # command -> the options of a question that it has
    "agreement": ("text", "target", "versus", "baseline", "units", "seed"),
    "layers": ("text", "target", "versus", "baseline", "units"),
}


def show(checkpoint: Checkpoint, question: Question) -> None:
    """Both views, each asked for with a button."""
    st.header("Methods side by side")
    st.write("Do other methods, and attention, point at the same words? All are asked the same.")
    kept = _asked(checkpoint, "agreement", "Compare all methods", question)
    if kept is not None:
        _agreement(checkpoint, question, kept)
    st.header("Which layer")
    st.write("What of F(x) - F(x') passes through each layer, at which word (layer conductance).")
    kept = _asked(checkpoint, "layers", "Follow it through the layers", question)
    if kept is not None:
        _layers(kept)


def _asked(checkpoint: Checkpoint, command: str, label: str, question: Question) -> Kept | None:
    """The answer, once it was asked for; else a button that asks."""
    options = question.asked(*OPTIONS[command])
    kept = waiting.answered_before(checkpoint, command, **options)
    if kept is not None:
        return kept
    place = st.empty()
    if jobs.find(answer_key(checkpoint, command, **options)) is None:
        if not place.button(label, key=f"ask_{command}"):
            return None
        place.empty()
    return waiting.answered(checkpoint, command, **options)


def _agreement(checkpoint: Checkpoint, question: Question, kept: Kept) -> None:
    ranking = kept.summary["ranking"]
    told = words.headline(kept.summary)
    st.subheader("What it comes to")
    st.text(show_plain(told, 500))
    table = pd.DataFrame(
        [
            [
                line["name"],
                line["verdict"],
                line["area"]["value"],
                line["area"]["low"],
                line["area"]["high"],
                line["area"]["p"],
                line["tau"],
            ]
            for line in ranking
        ],
        columns=["method", "verdict", "area", "random, low", "high", "p", "tau"],
    )
    event = st.dataframe(
        table,
        hide_index=True,
        lazy=False,
        key="ranking",
        height="content",
        on_select="rerun",
        selection_mode="single-row",
        column_config=dict.fromkeys(["area", "random, low", "high", "p", "tau"], frame.FOUR_DIGITS),
        alt=f"{len(table)} methods and pictures of attention, ranked",
    )
    st.caption(
        "Ranked by area: keeping words in this order less losing them in it, in nats; beside it "
        "the central 95 % of random orders and the share p that does as well. tau: Kendall's rank "
        "correlation with leaving out one word at a time. Each p is of that row alone: the more "
        "methods are tried, the likelier one of them passes by chance. Choose a row to explain "
        "with it."
    )
    rows = [row for row in event.selection.rows if row < len(table)]
    if rows:
        _closely(checkpoint, question, str(table["method"][rows[0]]))
    units = kept.summary["tokens"]
    st.subheader("Scores, method by method")
    first = window(len(units), charts_attribution.MOST_COLUMNS, "units", "methods_from")
    frame.draw(charts_agreement.by_method(ranking, units, first), "by_method")
    st.subheader("How alike their orders are")
    order = [line["name"] for line in ranking]
    frame.draw(charts_agreement.rank_correlations(kept.records, order), "correlations")
    st.caption("Attention has no sign: with it the sizes of scores are compared.")
    _apart(kept, "agreement")


def _closely(checkpoint: Checkpoint, question: Question, method: str) -> None:
    if method not in METHODS:
        st.caption("This is no method of attribution: it stands here to be compared with.")
        return
    st.button(
        "Explain with the chosen method",
        key="explain_with",
        type="primary",
        on_click=ask_again,
        args=(checkpoint.model, dataclasses.replace(question, method=method, samples=None)),
    )


def _layers(kept: Kept) -> None:
    records: list[LayerScore] = list(kept.records)
    places = len({record.position for record in records})
    first = window(places, charts_attribution.MOST_COLUMNS, "units", "layers_from")
    frame.draw(charts_attribution.by_layer(records, first), "by_layer")
    difference = kept.summary["f_input"] - kept.summary["f_baseline"]
    sums: dict[str, float] = {}
    for record in records:
        layer = block_label(record.stack or None, record.layer)
        sums[layer] = sums.get(layer, 0.0) + record.score
    st.dataframe(
        pd.DataFrame(
            [[layer, total, difference, total - difference] for layer, total in sums.items()],
            columns=["layer", "scores sum to", "F(x) - F(x')", "difference"],
        ),
        hide_index=True,
        key="layer_sums",
        height="content" if len(sums) <= 20 else 420,
        column_config=dict.fromkeys(
            ["scores sum to", "F(x) - F(x')", "difference"], frame.FOUR_DIGITS
        ),
        alt=f"Whether the scores of {len(sums)} layers sum to F(x) - F(x')",
    )
    st.caption(
        "Everything passes through every layer, so each layer's scores must sum to F(x) - F(x'); "
        "2 % or 0.02 nats are allowed. What a word adds moves to the place where it is read: in a "
        "model that reads from left to right late layers have most of it at the last word."
    )
    _apart(kept, "layers")


def _apart(kept: Kept, key: str) -> None:
    """Findings of one of the views, and the view to take away."""
    if kept.findings:
        frame.findings_table(kept.findings, f"{key}_findings")
    frame.downloads(kept, ("json", "csv", "html"), f"{key}_download")
