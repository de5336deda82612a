"""What is asked about groups: attributes, the class that counts as yes, words to swap."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import streamlit as st

from inspector.errors import BadOption
from inspector.fairness.group_rates import FEWEST
from inspector.fairness.items import Labelled, Stimuli
from inspector.fairness.swaps import Swapper
from inspector.pages import asking
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint

KEY: Final = "groups"
PROBE: Final = "classifier-fairness"
USUAL: Final = "The usual"
MOST_CHARACTERS: Final = 5000  # of words to swap
MOST_CLASSES: Final = 500  # in the list to choose from


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """How the classifier is asked; what is left as usual is not named."""

    attributes: tuple[str, ...] = ()
    positive: str | None = None
    swaps: tuple[tuple[str, ...], ...] = ()
    fewest: int = FEWEST
    margin: float | None = None

    def asked(self) -> dict[str, Any]:
        """The options of `probe` that differ from what they are anyway, as they are kept."""
        told: dict[str, Any] = {
            "attributes": list(self.attributes),
            "positive": self.positive,
            "swaps": [list(pair) for pair in self.swaps],
            "margin": self.margin,
        }
        found = {name: value for name, value in told.items() if value}
        return found if self.fewest == FEWEST else {**found, "fewest": self.fewest}

    def like(self, told: Mapping[str, Any]) -> "Question":
        """The question whose options are these."""
        return Question(
            attributes=tuple(told.get("attributes", ())),
            positive=told.get("positive"),
            swaps=tuple(tuple(pair) for pair in told.get("swaps", ())),
            fewest=told.get("fewest", FEWEST),
            margin=told.get("margin"),
        )


def ask(checkpoint: Checkpoint, stimuli: Stimuli[Labelled]) -> Question | None:
    """The form; what was asked of this model and data last, or is kept from before."""

    def form(before: Question) -> Question | None:
        return _form(checkpoint, stimuli, before)

    return asking.ask(checkpoint, PROBE, stimuli.sha256, Question(), form)


def classes(checkpoint: Checkpoint) -> list[str]:
    """The names of the model's classes as its config gives them."""
    named = (checkpoint.config or {}).get("id2label")
    if not isinstance(named, dict):
        return []
    return [str(name) for name in named.values()][:MOST_CLASSES]


def _form(checkpoint: Checkpoint, stimuli: Stimuli[Labelled], before: Question) -> Question | None:
    known = list(stimuli.items[0].groups)
    names = classes(checkpoint)
    where = f"{KEY}_{len(known)}_{len(names)}"
    with st.form(f"{KEY}_form", border=True):
        left, middle, right = st.columns([3, 2, 2], vertical_alignment="bottom")
        attributes = left.multiselect(
            "Attributes (optional)",
            known,
            default=[name for name in before.attributes if name in known],
            format_func=lambda one: show_plain(one, 60),
            placeholder="All, one by one and crossed",
            key=f"{where}_attributes",
        )
        positive = middle.selectbox(
            "The class that counts as yes",
            [USUAL, *names],
            index=([USUAL, *names].index(before.positive) if before.positive in names else 0),
            format_func=lambda one: show_plain(one, 60),
            key=f"{where}_positive",
            help="The usual: of two classes the second, of more each in turn.",
        )
        fewest = right.number_input(
            "Fewest texts of a rate",
            min_value=1,
            max_value=100_000,
            value=before.fewest,
            key=f"{KEY}_fewest",
            help="A rate that rests on fewer is shown and not compared.",
        )
        left, right, button = st.columns([4, 2, 1], vertical_alignment="bottom")
        typed = left.text_area(
            "Words to swap (optional): a pair in each line",
            value="\n".join(", ".join(pair) for pair in before.swaps),
            placeholder="he, she\nJohn, Mary",
            max_chars=MOST_CHARACTERS,
            height=96,
            key=f"{KEY}_swaps",
            help="Each text is classified again with these words in each other's place.",
        )
        margin = right.number_input(
            "Margin of equivalence (optional)",
            min_value=0.0,
            value=before.margin,
            step=0.01,
            format="%.3g",
            placeholder="None",
            key=f"{KEY}_margin",
            help="Gaps within this (0.05 is five points) are called equivalent to none. Without "
            "a margin nothing is.",
        )
        sent = button.form_submit_button("Run", type="primary", key=f"{KEY}_run")
    if not sent or (swaps := _pairs(typed)) is None:
        return None
    return Question(
        attributes=tuple(attributes),
        positive=None if positive == USUAL else positive,
        swaps=swaps,
        fewest=int(fewest),
        margin=margin or None,
    )


def _pairs(typed: str) -> tuple[tuple[str, ...], ...] | None:
    """Pairs of words, a line each; None, with what is wrong said, where they are none."""
    lines = [line for line in typed.splitlines() if line.strip()]
    pairs = tuple(tuple(word.strip() for word in line.split(",")) for line in lines)
    if not pairs:
        return ()
    try:
        Swapper(pairs)
    except BadOption as error:
        st.error("These words cannot be swapped:")
        st.code(show_plain(str(error), 300), language=None, wrap_lines=True)
        return None
    return pairs
