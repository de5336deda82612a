"""One prompt through the model: what it answers, where, by which heads; and heads by kind."""

from functools import partial

import streamlit as st

from inspector.model.samples import MOST_CHARACTERS, Asked, is_masked, mask_word, sample, why_not
from inspector.pages import frame, prompt_beside, prompt_view, taxonomy_view
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint

MOST_LINKED = 500  # characters of a prompt that the page's address carries
MOST_REMEMBERED = 20


def main() -> None:
    """The page."""
    checkpoint = frame.current()
    st.title("Prompt")
    view = st.segmented_control(
        "View",
        ["One prompt", "Heads and signals"],
        default="One prompt",
        required=True,
        key="prompt_view",
        bind="query-params",
        label_visibility="collapsed",
    )
    if view == "Heads and signals":
        taxonomy_view.show(checkpoint)
        return
    st.write("What the model makes of a text, layer by layer, head by head and part by part.")
    asked = _asked(checkpoint)
    if asked is None:
        return
    other = prompt_beside.other_of(asked.text)
    if other is not None:
        before = st.session_state["prompts"][checkpoint.model]
        prompt_beside.show(checkpoint, asked.text, other, partial(_look_at, before))
    prompt_view.show(checkpoint, asked)


def _asked(checkpoint: Checkpoint) -> Asked | None:
    """What was asked of this model last: by the form, by choosing an earlier one, by a link."""
    model = checkpoint.model
    before: list[Asked] = st.session_state.setdefault("prompts", {}).setdefault(model, [])
    linked = _linked()
    if linked is not None and st.session_state.get("prompt_link") != (model, linked):
        _remember(before, linked)
        _fill(linked)
    st.session_state["prompt_link"] = (model, linked)
    if st.session_state.get("prompt_of") != model:
        st.session_state["prompt_of"] = model
        _fill(before[0] if before else sample(checkpoint))
    above = st.container()
    typed = _form(checkpoint)
    if typed is not None:
        wrong = why_not(typed.text)
        if wrong is None and typed.versus is not None and typed.target is None:
            wrong = "Name the answer too: the other one is only what it is compared with."
        if wrong is not None:
            st.warning("This cannot be asked:")
            st.text(wrong)
            return None
        _remember(before, typed)
    with above:
        _earlier(before)
    if not before:
        _explain()
        return None
    _link(before[0])
    st.session_state["prompt_link"] = (model, _linked())
    return before[0]


def _earlier(before: list[Asked]) -> None:
    """Prompts of this session, to be looked at again."""
    if len(before) > 1:
        st.selectbox(
            "Asked before",
            range(len(before)),
            format_func=lambda i: _told(before[i]) if i < len(before) else "",
            key="prompt_before",
            index=0,
            on_change=_again,
            args=(before,),
        )


def _form(checkpoint: Checkpoint) -> Asked | None:
    """The form; what was typed, when it was sent."""
    masked = is_masked(checkpoint)
    with st.form("prompt_form", border=True):
        text = st.text_area(
            "Prompt",
            key="prompt_text",
            height="content",
            placeholder="A sentence for the model to go on with",
        )
        if masked:
            st.caption("Put this word where the model is to guess:")
            st.code(show_plain(mask_word(checkpoint), 40), language=None)
        left, right, end = st.columns([3, 3, 1], vertical_alignment="bottom")
        target = left.text_input(
            "Answer to follow (optional)",
            key="prompt_target",
            placeholder="What the model itself finds likeliest",
            help="What ablation is measured on: its log-probability with and without each part.",
        )
        versus = right.text_input(
            "Compared with (optional)",
            key="prompt_versus",
            placeholder="Nothing",
            help="With it the difference of both log-probabilities is followed.",
        )
        sent = end.form_submit_button("Ask", type="primary", key="prompt_ask")
    if not sent:
        return None
    return Asked(text=text, target=target.strip() or None, versus=versus.strip() or None)


def _again(before: list[Asked]) -> None:
    """An earlier prompt was chosen: it is the last one asked now."""
    chosen = before[st.session_state["prompt_before"]]
    _remember(before, chosen)
    _fill(chosen)
    st.session_state["prompt_before"] = 0


def _look_at(before: list[Asked], text: str) -> None:
    """Ask another text, as if it had been typed."""
    _remember(before, Asked(text=text))
    _fill(Asked(text=text))


def _remember(before: list[Asked], asked: Asked) -> None:
    before[:] = [asked, *(other for other in before if other != asked)][:MOST_REMEMBERED]


def _fill(asked: Asked) -> None:
    st.session_state["prompt_text"] = asked.text
    st.session_state["prompt_target"] = asked.target or ""
    st.session_state["prompt_versus"] = asked.versus or ""


def _told(asked: Asked) -> str:
    target = f" → {show_plain(asked.target, 30)}" if asked.target else ""
    versus = f" against {show_plain(asked.versus, 30)}" if asked.versus else ""
    return show_plain(asked.text, 80) + target + versus


def _linked() -> Asked | None:
    """What the page's address asks."""
    text = st.query_params.get("text", "")
    if why_not(text) is not None:
        return None
    target, versus = (st.query_params.get(name) or None for name in ("target", "versus"))
    return Asked(text=text, target=target, versus=versus)


def _link(asked: Asked) -> None:
    """Put what is asked into the page's address, unless it is long."""
    short = len(asked.text) <= MOST_LINKED
    for name in ("text", "target", "versus"):
        value = getattr(asked, name)
        if short and value:
            st.query_params[name] = value
        elif name in st.query_params:
            del st.query_params[name]


def _explain() -> None:
    st.info("Press Ask: the model reads the prompt once, then once without each of its parts.")
    st.markdown(
        "- **Tokens**: how the text is cut, and what the model expects next\n"
        "- **Lens**: what it would answer if it stopped after each layer\n"
        "- **Attention**: where each head looks, beside what uniform attention gives\n"
        "- **Ablation**: what changes without each bias, layer, MLP and head"
    )
    st.caption(f"A prompt may have up to {MOST_CHARACTERS:,} characters, and what the model holds.")


main()
