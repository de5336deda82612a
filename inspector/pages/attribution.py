"""Which words an answer rests on: scores with their verdict and receipt, method by method."""

import streamlit as st

from inspector.model.kinds import kind_of
from inspector.model.samples import MOST_CHARACTERS, class_of, why_not
from inspector.pages import agreement_view, attribution_view, frame, waiting
from inspector.pages.attribution_form import Question, ask, ask_again, likeliest
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint


def main() -> None:
    """The page."""
    checkpoint = frame.current()
    st.title("Attribution")
    st.write(
        "Which words an answer rests on. Every picture comes with a receipt, and with a verdict: "
        "is it better than words in random order?"
    )
    if kind_of(class_of(checkpoint)) == "encoder":
        st.info(
            "This model predicts nothing: it has no head that continues a text, fills a mask or "
            "names a class. So there is no answer to explain."
        )
        return
    question = ask(checkpoint)
    if question is None:
        _explain()
        return
    if (wrong := why_not(question.text)) is not None:
        st.warning("This cannot be explained:")
        st.text(wrong)
        return
    if not question.target.strip():
        _without_target(checkpoint, question)
        return
    if question.target == question.versus:
        st.warning("Both answers are the same: there is no difference to explain.")
        return
    kept = waiting.answered(checkpoint, "attribute", **question.asked())
    if kept is None:
        st.caption("The verdict and the scores are shown here as soon as they are there.")
        return
    attribution_view.show(checkpoint, question, kept)
    agreement_view.show(checkpoint, question)
    attribution_view.end(kept)


def _explain() -> None:
    st.info("Name an answer and press Explain.")
    st.markdown(
        "- **F** is what is explained: the log-probability of the answer, or by how much it "
        "exceeds that of another answer\n"
        "- Each word gets a **score** in nats: plus speaks for the answer, minus against it\n"
        "- The **verdict** says whether taking words away in this order does more than taking "
        "them away in random orders\n"
        "- The **receipt** holds all that is needed to do the same again"
    )
    st.caption(f"A prompt may have up to {MOST_CHARACTERS:,} characters, and what the model holds.")


def _without_target(checkpoint: Checkpoint, question: Question) -> None:
    """Which answer? What the model itself finds likeliest is offered."""
    st.warning("Name the answer that is to be explained.")
    offered = likeliest(checkpoint, question.text)
    if offered is None and st.session_state.get("attribution_lens") == question.text:
        waiting.answered(checkpoint, "lens", text=question.text)
        offered = likeliest(checkpoint, question.text)
    elif offered is None and st.button("What does the model itself answer?", key="ask_lens"):
        st.session_state["attribution_lens"] = question.text
        st.rerun()
    if offered is not None:
        st.text(f'The model itself finds this likeliest: "{show_plain(offered, 60)}"')
        given = {**question.asked(), "target": offered, "versus": None}
        st.button(
            "Explain that answer",
            key="explain_likeliest",
            type="primary",
            on_click=ask_again,
            args=(checkpoint.model, Question(**given)),
        )


main()
