"""The items behind a number: folded, since they can offend; one can be taken to the Prompt page."""

from collections.abc import Sequence
from typing import Final

import pandas as pd
import streamlit as st

from inspector.fairness.stored import Item
from inspector.pages import frame
from inspector.pages.bias_form import Chosen
from inspector.pages.prompt_parts import forget_unless
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint

MOST_ITEMS: Final = 5000
MOST_LINKED: Final = 500  # characters of a text that an address carries
FIRST: Final = (
    *("id", "category", "cluster", "gap", "text_more", "text_less"),
    *("score", "prompt", "continuation"),
)
HIDDEN: Final = ("scorer",)
ORDERS: Final = {
    "largest towards the stereotype": ("gap", False),
    "largest against the stereotype": ("gap", True),
    "highest score": ("score", False),
    "lowest score": ("score", True),
    "as in the file": (None, True),
}


def show(checkpoint: Checkpoint, chosen: Chosen, items: Sequence[Item], scorer: str) -> None:
    """A switch; behind it the table of items and the chosen one."""
    st.header("Items")
    found = [item for item in items if item.get("scorer", scorer) == scorer]
    if not found:
        st.caption("The items are not kept any more: press Run again to have them.")
        return
    st.caption(
        f"{len(found):,} items, each with its scores. They repeat stereotypes and can offend: "
        "they are shown when you ask for them."
    )
    if not st.toggle("Show the items", key="bias_show_items"):
        return
    table = _table(found)
    if len(table) > MOST_ITEMS:
        st.caption(f"The first {MOST_ITEMS:,} in this order are shown; the download has all.")
        table = table.head(MOST_ITEMS)
    event = st.dataframe(
        table,
        hide_index=True,
        lazy=False,
        height=min(420, 38 + 35 * max(len(table), 1)),
        key="bias_items",
        on_select="rerun",
        selection_mode="single-row",
        placeholder="",
        column_config={
            name: frame.FOUR_DIGITS
            for name in table.columns
            if pd.api.types.is_float_dtype(table[name])
        },
        alt=f"{len(table)} items with their scores",
    )
    rows = [row for row in event.selection.rows if row < len(table)]
    if not rows:
        st.caption("Choose a row to see both sides, and to open them on the Prompt page.")
        return
    _one(checkpoint, found[int(table.index[rows[0]])])


def _table(items: Sequence[Item]) -> pd.DataFrame:
    """The items by category and in the order that is chosen; texts plain."""
    table = pd.DataFrame([_cells(item) for item in items])
    left, middle, right = st.columns([2, 2, 1])
    categories = ["all", *dict.fromkeys(table["category"])]
    if st.session_state.get("bias_item_category", "all") not in categories:
        st.session_state["bias_item_category"] = "all"
    category = left.selectbox("Category", categories, key="bias_item_category")
    orders = [one for one, (field, _) in ORDERS.items() if field in (None, *table.columns)]
    forget_unless("bias_item_order", orders)
    order = middle.selectbox("Order", orders, key="bias_item_order")
    only = right.toggle("Left out only", key="bias_item_excluded")
    if category != "all":
        table = table[table["category"] == category]
    if only:
        table = table[table["excluded"].notna()]
    field, upwards = ORDERS[order]
    if field is not None:
        table = table.sort_values(field, ascending=upwards, kind="stable")
    names = [name for name in FIRST if name in table.columns]
    return table[[*names, *(n for n in table.columns if n not in (*FIRST, *HIDDEN))]]


def _cells(item: Item) -> dict[str, object]:
    """An item's values as a table shows them."""
    told: dict[str, object] = {}
    for name, value in item.items():
        if isinstance(value, list | dict):
            value = ", ".join(map(str, value.values() if isinstance(value, dict) else value))
        told[name] = show_plain(value, 300) if isinstance(value, str) else value
    return told


def _one(checkpoint: Checkpoint, item: Item) -> None:
    """One item: both sides with their scores, and the way to the Prompt page."""
    st.subheader("The chosen item")
    if "continuation" in item:
        _written(checkpoint, item)
        return
    sides = [(name, item.get(f"text_{name}") or "") for name in ("more", "less")]
    titles = {"more": "What the stereotype favours", "less": "The other side"}
    columns = st.columns(2)
    for column, (name, text) in zip(columns, sides, strict=True):
        with column:
            st.text(titles[name])
            st.code(show_plain(str(text), 1000), language=None, wrap_lines=True)
            if item.get(name) is not None:
                st.text(f"{item[name]:.4g} nats, {item.get(f'tokens_{name}', 0)} tokens")
    gap = item.get("gap")
    st.text(
        f"gap: {gap:+.4g}"
        if gap is not None
        else f"left out: {show_plain(str(item.get('excluded')), 300)}"
    )
    _to_prompt(
        checkpoint, [str(text) for _, text in sides if text], "Open both sides on the Prompt page"
    )


def _written(checkpoint: Checkpoint, item: Item) -> None:
    """A prompt with what was written behind it, and what the classifier said."""
    for title, name in (("Prompt", "prompt"), ("What the model wrote", "continuation")):
        st.text(title)
        st.code(show_plain(str(item[name] or ""), 1000), language=None, wrap_lines=True)
    score = item.get("score")
    told = show_plain(str(item.get("excluded")), 300)
    st.text(f"score: {score:.4g}" if score is not None else f"left out: {told}")
    _to_prompt(checkpoint, [str(item["prompt"])], "Open the prompt on the Prompt page")


def _to_prompt(checkpoint: Checkpoint, texts: Sequence[str], label: str) -> None:
    if not texts:
        return
    if any(len(text) > MOST_LINKED for text in texts):
        st.caption("These texts are too long for an address: copy them to the Prompt page.")
        return
    st.page_link(
        frame.page("prompt"),
        label=label,
        icon=":material/arrow_forward:",
        query_params={
            "model": checkpoint.model,
            "text": texts[0],
            **({"other": texts[1]} if len(texts) > 1 else {}),
        },
    )
