"""Two sentences side by side: where they differ, and what the model expects at each place."""

import difflib
from collections.abc import Callable
from typing import Final

import pandas as pd
import streamlit as st

from inspector.model.records import LensPoint
from inspector.model.samples import is_masked, why_not
from inspector.pages import waiting
from inspector.pages.prompt_parts import is_there
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.stored_judgements import Kept

OTHER: Final = "other"  # the parameter of the address
PINNED: Final = "prompt_pinned"
DIFFERS: Final = "≠"
EXPECTED, OWN = "its probability", "the token's"
MOST_TOKENS: Final = 500
Row = tuple[str, str, float | None, float | None]


def other_of(text: str) -> str | None:
    """The sentence that a link pinned beside this one; None for any other text."""
    linked = st.query_params.get(OTHER, "")
    if linked and why_not(linked) is None:
        st.session_state[PINNED] = (text, linked)
        del st.query_params[OTHER]
    one, two = st.session_state.get(PINNED, ("", ""))
    if text not in (one, two):
        return None
    other: str = two if text == one else one
    return other


def show(checkpoint: Checkpoint, text: str, other: str, look_at: Callable[[str], None]) -> None:
    """Both sentences with their tokens; `look_at` is called to have the other shown closely."""
    st.header("Both sides")
    sides = [text, other]
    found = [  # the first is asked below, with all else about it
        waiting.answered_before(checkpoint, "lens", text=text),
        waiting.answered(checkpoint, "lens", text=other),
    ]
    rows = [_rows(kept) for kept in found]
    there = all(rows)  # else every token of the one that is there would differ
    marks = _differences(*[[row[0] for row in side] for side in rows]) if there else (set(), set())
    for i, column in enumerate(st.columns(2)):
        with column:
            st.caption("The other side" if i else "Looked at closely below")
            st.code(show_plain(sides[i], 1000), language=None, wrap_lines=True)
            _table(rows[i], marks[i], f"beside_{i}")
            if i:
                st.button(
                    "Look closely at this side",
                    key="beside_swap",
                    icon=":material/swap_horiz:",
                    on_click=look_at,
                    args=(other,),
                )
    seen = "though it sees the word itself" if is_masked(checkpoint) else "from what stands before"
    st.caption(
        f"{DIFFERS} where the sides differ. Expected: what the model finds likeliest at that "
        f"place, {seen}; its probability, and that of the token that stands there when it is "
        "among the five likeliest."
    )


def _rows(kept: Kept | None) -> list[Row]:
    """Each token, what was expected in its place, and the probabilities of both."""
    if kept is None or not is_there(kept) or kept.summary["kind"] not in ("causal", "masked"):
        return []
    last = kept.summary["layers"][-1]["name"]
    points: list[LensPoint] = [point for point in kept if point.name == last]
    ahead = kept.summary["kind"] == "causal"
    rows: list[Row] = []
    for i, point in enumerate(points):
        told = points[i - 1] if ahead and i else None if ahead else point
        word = point.text or ""
        if told is None:
            rows.append((word, "", None, None))
            continue
        likely = dict(zip(told.tokens, told.probabilities, strict=True))
        rows.append((word, told.answer, told.answer_probability, likely.get(word)))
    return rows


def _differences(one: list[str], other: list[str]) -> tuple[set[int], set[int]]:
    """The places in which two lists of tokens differ."""
    found: tuple[set[int], set[int]] = set(), set()
    for kind, *ends in difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if kind != "equal":
            found[0].update(range(ends[0], ends[1]))
            found[1].update(range(ends[2], ends[3]))
    return found


def _table(rows: list[Row], marks: set[int], key: str) -> None:
    if not rows:
        st.caption("Its tokens are not there yet, or this model does not tell them.")
        return
    cells = [
        [DIFFERS if i in marks else "", show_plain(word, 40), show_plain(expected, 40), likely, own]
        for i, (word, expected, likely, own) in enumerate(rows[:MOST_TOKENS])
    ]
    percent = st.column_config.NumberColumn(format="percent")
    st.dataframe(
        pd.DataFrame(cells, columns=["", "token", "expected", EXPECTED, OWN]),
        hide_index=True,
        key=key,
        height=min(38 + 35 * len(cells), 400),
        column_config={EXPECTED: percent, OWN: percent},
        alt=f"{len(rows)} tokens with what the model expects in their place",
    )
    if len(rows) > MOST_TOKENS:
        st.caption(f"The first {MOST_TOKENS:,} tokens.")
