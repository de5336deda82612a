"""What the answer and the loss lose without each part of a model."""

from typing import Any

import streamlit as st

from inspector.model.records import Ablation
from inspector.model.samples import Asked
from inspector.pages import frame
from inspector.pages.prompt_parts import forget_unless, refused
from inspector.report import charts_ablation
from inspector.report.prompt_words import COMPONENT_WORDS, EFFECT_WORDS
from inspector.results import show_plain
from inspector.weights.stored_judgements import Kept


def show(asked: Asked, kept: Kept | None) -> None:
    """Bars of every part that was switched off, and how much the biases matter."""
    st.header("Without a part")
    st.write(
        "Each part is set to zero, alone, and the model asked again. Zero is harsher than "
        "anything the model met in training, so take large changes as an upper hint."
    )
    if refused(kept):
        return
    assert kept is not None
    st.text(_asked_for(asked, kept))
    _biases(kept)
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    fields = [name for name in EFFECT_WORDS if any(getattr(r, name) is not None for r in kept)]
    forget_unless("effect", fields)
    field = left.selectbox(
        "Change of",
        fields,
        format_func=lambda name: EFFECT_WORDS[name].title,
        key="effect",
    )
    own_kinds = [kind for kind in COMPONENT_WORDS if any(r.component == kind for r in kept)]
    forget_unless("components", own_kinds)
    wanted = right.pills(
        "Parts",
        own_kinds,
        selection_mode="multi",
        format_func=lambda kind: COMPONENT_WORDS[kind],
        key="components",
        help="None chosen: all.",
    )
    words = EFFECT_WORDS[field]
    st.write(words.about)
    records: list[Ablation] = [r for r in kept if r.component in (wanted or own_kinds)]
    frame.draw(charts_ablation.bars(records, field), f"ablation_{field}")


def _asked_for(asked: Asked, kept: Kept) -> str:
    """What is followed, and how large it is with all parts there."""
    summary = kept.summary
    if asked.target is None:
        answer = f"{show_plain(str(summary['answers'][0]), 60)} (likeliest for the model)"
    else:
        answer = show_plain(asked.target, 60)
    score = f"log p of {answer}"
    if asked.versus is not None:
        score += f" less log p of {show_plain(asked.versus, 60)}"
    told = f"Answer: {score}, {summary['answer']:.4g} nats with all parts."
    if summary["loss"] is not None:
        told += f" Loss: {summary['loss']:.4g} nats, of {summary['loss_of']}."
    return f"{told} One prompt allows no range."


def _biases(kept: Kept) -> None:
    """How much the biases of this model matter here."""
    found: dict[str, Any] | None = kept.summary["biases"]
    if found is None:
        st.text("How much the biases of this model matter here: it has none.")
        return
    loss = "" if found["loss_change"] is None else f" and the loss by {found['loss_change']:+.3g}"
    moved = found["divergence"]
    far = "" if moved is None else f", all probabilities by a KL of {moved:.3g}"
    st.text(
        f"How much the biases of this model matter here: without all {found['parameters']:,} of "
        f"them ({found['share']:.2%} of the parameters) the answer changes by "
        f"{found['answer_change']:+.3g} nats{loss}{far}. Of {found['layers']} layers, taken out "
        f"alone, {found['layers_that_change_less']} change the prediction less."
    )
