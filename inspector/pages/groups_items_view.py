"""The texts behind the numbers: folded, since they are about people; right, wrong, flipped."""

from collections.abc import Callable, Sequence
from typing import Final

import pandas as pd
import streamlit as st

from inspector.fairness.stored import Item
from inspector.pages import frame
from inspector.results import show_plain

MOST_ITEMS: Final = 5000
FIRST: Final = ("id", "group", "label", "predicted", "probability", "right", "text", "excluded")
SWAPPED: Final = ("swapped", "swapped_predicted", "log_odds_change", "not_swapped")
CHOICES: Final[dict[str, Callable[[Item], bool]]] = {
    "All": lambda _: True,
    "Wrong": lambda item: item["right"] is False,
    "Flipped": lambda item: item["swapped_predicted"] not in (None, item["predicted"]),
    "Left out": lambda item: item["excluded"] is not None,
}


def show(items: Sequence[Item]) -> None:
    """A switch; behind it the table of texts."""
    st.header("Texts")
    if not items:
        st.caption("The texts are not kept any more: press Run again to have them.")
        return
    st.caption(f"{len(items):,} texts, each with what the model says. Shown when you ask for them.")
    if not st.toggle("Show the texts", key="groups_show_items"):
        return
    choice = st.selectbox("Which", list(CHOICES), key="groups_which")
    found = [item for item in items if CHOICES[choice](item)]
    swapped = any(item["swapped"] is not None or item["not_swapped"] for item in items)
    columns = [*FIRST, *(SWAPPED if swapped else ())]
    table = pd.DataFrame(
        [[_cell(item[name]) for name in columns] for item in found[:MOST_ITEMS]], columns=columns
    )
    st.dataframe(
        table,
        hide_index=True,
        lazy=False,
        height=min(420, 38 + 35 * max(len(table), 1)),
        key="groups_items",
        placeholder="",
        column_config=dict.fromkeys(("probability", "log_odds_change"), frame.FOUR_DIGITS),
        alt=f"{len(table)} texts with what the model says of them",
    )
    st.caption(f"{len(found):,} of {len(items):,} texts. The probability is that of the class "
               "that counts as yes, of several classes that of the predicted one.")  # fmt: skip
    if len(found) > MOST_ITEMS:
        st.caption(f"The first {MOST_ITEMS:,} are shown.")


def _cell(value: object) -> object:
    return show_plain(value, 300) if isinstance(value, str) else value
