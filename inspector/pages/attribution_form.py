"""What the Attribution page asks: its form, its address, and what was asked before."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import streamlit as st

from inspector.model.kinds import kind_of
from inspector.model.methods import METHODS
from inspector.model.samples import class_of, is_masked, mask_word, sample
from inspector.pages import waiting
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint

MOST_LINKED = 500  # characters of a text that the page's address carries
MOST_REMEMBERED = 20
MOST_LABELS = 100
UNITS = ("tokens", "words")
KEY = "attribution"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """What is to be explained, and how: the options of `attribute`."""

    text: str
    target: str
    versus: str | None = None
    method: str = "integrated-gradients"
    baseline: str | None = None
    units: str = UNITS[0]
    samples: int | None = None
    orders: int = 100
    seed: int = 0

    def asked(self, *names: str) -> dict[str, Any]:
        """The options by name; all of them where none are named."""
        every = dataclasses.asdict(self)
        return {name: every[name] for name in names} if names else every

    @property
    def swapped(self) -> "Question":
        """The same with the answer and what it is contrasted with exchanged."""
        return dataclasses.replace(self, target=self.versus or "", versus=self.target)


NUMBERS = {"samples": (1, 5000), "orders": (0, 5000), "seed": (0, 2**32 - 1)}  # least and most
DEFAULT = Question(text="", target="")


def ask(checkpoint: Checkpoint) -> Question | None:
    """What was asked of this model last: by the form, again, or by a link; None at first."""
    model = checkpoint.model
    before = asked_before(model)
    linked = _linked()
    if linked is not None and st.session_state.get(f"{KEY}_link") != (model, linked):
        remember(model, linked)
        st.session_state.pop(f"{KEY}_of", None)
    if st.session_state.get(f"{KEY}_of") != model or f"{KEY}_text" not in st.session_state:
        st.session_state[f"{KEY}_of"] = model
        fill(before[0] if before else _sample(checkpoint))
    _form(checkpoint, before)
    if before:
        _link(before[0])
        st.session_state[f"{KEY}_link"] = (model, before[0] if _is_short(before[0]) else None)
    return before[0] if before else None


def asked_before(model: str) -> list[Question]:
    """The questions to a model, the last one first."""
    every: dict[str, list[Question]] = st.session_state.setdefault(f"{KEY}_asked", {})
    return every.setdefault(model, [])


def remember(model: str, question: Question) -> None:
    """Make a question the last one asked of a model."""
    before = asked_before(model)
    before[:] = [question, *(one for one in before if one != question)][:MOST_REMEMBERED]


def fill(question: Question) -> None:
    """Put a question into the form."""
    for name, value in question.asked().items():
        if name not in NUMBERS:  # half a character, which no box can hold, is shown by its number
            value = (value or "").encode(errors="backslashreplace").decode()
        st.session_state[f"{KEY}_{name}"] = value


def ask_again(model: str, question: Question) -> None:
    """Ask a question that was made from another one."""
    remember(model, question)
    fill(question)


def likeliest(checkpoint: Checkpoint, text: str) -> str | None:
    """What the model itself answers, where the lens has been asked already."""
    kept = waiting.answered_before(checkpoint, "lens", text=text)
    if kept is None or "answer_position" not in kept.summary:
        return None
    at = kept.summary["answer_position"]
    return next((str(p.answer) for p in kept if p.position in (None, at)), None)


def _sample(checkpoint: Checkpoint) -> Question:
    """A question to begin with; the answer is left open where nothing suggests one."""
    offered = sample(checkpoint)
    labels = _labels(checkpoint)
    target = offered.target or (labels[0] if labels else likeliest(checkpoint, offered.text))
    return Question(text=offered.text, target=target or "", versus=offered.versus)


def _labels(checkpoint: Checkpoint) -> list[str]:
    """The classes of a classifier, as its config names them."""
    if kind_of(class_of(checkpoint)) != "classifier":
        return []
    named = (checkpoint.config or {}).get("id2label")
    if isinstance(named, Mapping):
        return [str(one) for one in named.values()]
    count = (checkpoint.config or {}).get("num_labels", 2)  # the names that transformers gives
    return [f"LABEL_{i}" for i in range(min(count, MOST_LABELS))] if isinstance(count, int) else []


def _form(checkpoint: Checkpoint, before: list[Question]) -> None:
    """The form, below the questions asked before."""
    model = checkpoint.model
    if len(before) > 1:
        st.selectbox(
            "Asked before",
            range(len(before)),
            format_func=lambda i: _told(before[i]) if i < len(before) else "",
            key=f"{KEY}_before",
            on_change=_again,
            args=(model,),
        )
    with st.form(KEY, border=True):
        st.text_area("Prompt", key=f"{KEY}_text", height="content")
        _hints(checkpoint)
        left, right, end = st.columns([3, 3, 1], vertical_alignment="bottom")
        left.text_input(
            "Answer to explain",
            key=f"{KEY}_target",
            help="Written as it follows the text: with the space in front, where one belongs "
            "there. Of a classifier: the name of a class.",
        )
        right.text_input(
            "Instead of (optional)",
            key=f"{KEY}_versus",
            placeholder="Nothing",
            help="Then the preference for the one over the other is explained: why this, and not "
            "that?",
        )
        end.form_submit_button(
            "Explain", type="primary", key=f"{KEY}_explain", on_click=_send, args=(model,)
        )
        st.selectbox(
            "Method",
            list(METHODS),
            format_func=lambda name: f"{METHODS[name].title}: {METHODS[name].about}",
            key=f"{KEY}_method",
        )
        with st.expander("More"):
            _more()


def _send(model: str) -> None:
    """The form was sent: what it holds is the last question now."""
    given: dict[str, Any] = {name: st.session_state[f"{KEY}_{name}"] for name in DEFAULT.asked()}
    for name in ("versus", "baseline"):
        given[name] = given[name] if given[name].strip() else None
    for name in ("orders", "seed"):
        given[name] = getattr(DEFAULT, name) if given[name] is None else given[name]
    remember(model, Question(**given))


def _hints(checkpoint: Checkpoint) -> None:
    if is_masked(checkpoint):
        st.caption("Put this word where the answer is to stand:")
        st.code(show_plain(mask_word(checkpoint), 40), language=None)
    if labels := _labels(checkpoint):
        st.caption(f"The answer is one of {len(labels):,} classes:")
        st.text(show_plain(", ".join(labels[:MOST_LABELS]), 1000))


def _more() -> None:
    """Options that have a good default."""
    left, right = st.columns(2)
    left.selectbox("Scores for each of the", UNITS, key=f"{KEY}_units")
    right.text_input(
        "Baseline: what stands in place of a word",
        key=f"{KEY}_baseline",
        placeholder="The model's mask, padding or end of text",
        help="mask, pad, eos or unk; or a neutral text, of one token or as many as the prompt has.",
    )
    one, two, three = st.columns(3)
    for place, name, label, placeholder in (
        (one, "samples", "Steps or samples", "The method's own number"),
        (two, "orders", "Random orders to compare with", "100"),
        (three, "seed", "Seed", "0"),
    ):
        least, most = NUMBERS[name]
        place.number_input(
            label,
            min_value=least,
            max_value=most,
            value=None,
            step=1,
            key=f"{KEY}_{name}",
            placeholder=placeholder,
        )


def _again(model: str) -> None:
    before = asked_before(model)
    chosen = st.session_state[f"{KEY}_before"]
    ask_again(model, before[chosen])
    st.session_state[f"{KEY}_before"] = 0


def _told(question: Question) -> str:
    versus = f" against {show_plain(question.versus, 30)}" if question.versus else ""
    target = f" → {show_plain(question.target, 30)}{versus}"
    return f"{show_plain(question.text, 60)}{target}, {METHODS[question.method].title}"


def _is_short(question: Question) -> bool:
    texts = (question.text, question.target, question.versus or "", question.baseline or "")
    return all(len(one) <= MOST_LINKED and _can_be_sent(one) for one in texts)


def _can_be_sent(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _link(question: Question) -> None:
    """Put what is asked into the page's address, unless it is long; defaults are left out."""
    for name, value in question.asked().items():
        usual = value in (None, "") or value == getattr(DEFAULT, name)
        if _is_short(question) and not usual:
            st.query_params[name] = str(value)
        elif name in st.query_params:
            del st.query_params[name]


def _linked() -> Question | None:
    """What the page's address asks; options it does not know are left out."""
    given: dict[str, Any] = {n: st.query_params[n] for n in DEFAULT.asked() if n in st.query_params}
    if not given.get("text"):
        return None
    for name, (least, most) in NUMBERS.items():
        value = str(given.pop(name, ""))
        if value.isascii() and value.isdigit() and least <= int(value[:12]) <= most:
            given[name] = int(value)
    if given.get("method") not in METHODS:
        given.pop("method", None)
    if given.get("units") not in UNITS:
        given.pop("units", None)
    return Question(**{"target": "", **given})
