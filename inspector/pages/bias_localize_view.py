"""Where the gap sits: which layers, heads, blocks and matrices carry it."""

from typing import Any, Final

import pandas as pd
import streamlit as st

from inspector.fairness.localize_records import Localised
from inspector.fairness.stored import OWN, TEMPLATES
from inspector.pages import frame, material, waiting
from inspector.pages.bias_form import speaks
from inspector.pages.probe_parts import findings, limits, rests_on
from inspector.report import bias_words as words
from inspector.report import charts_localize
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.stored_judgements import Kept

ALL: Final = "all categories"
RANKED: Final = "write"  # what parts are compared by, where they have it
TITLES: Final = {
    "layers": "Layers",
    "blocks": "Attention and MLP blocks",
    "matrices": "Single matrices",
}


def show(checkpoint: Checkpoint) -> None:
    """Templates, a button, and where their gap sits."""
    st.write(
        "A gap between words is followed into the model: what is lost of it when one part gives "
        "what it gives in the neutral sentence?"
    )
    if not speaks(checkpoint):
        st.warning("By its config this model gives no probability of a text: it has no such gap.")
        return
    left, right = st.columns(2)
    with left:
        found = material.choose(checkpoint, OWN, TEMPLATES, "localize")
    if found is None:
        return
    categories = [ALL, *found.stimuli.categories()]
    linked = st.query_params.get("category")
    picked = right.selectbox(
        "Category",
        categories,
        index=categories.index(linked) if linked in categories else 0,
        format_func=lambda one: show_plain(one, 80),
        key=f"localize_category_{found.stimuli.sha256[:12]}",
    )
    if picked != ALL:
        st.query_params["category"] = picked
    elif linked is not None:
        del st.query_params["category"]
    question = {"category": None if picked == ALL else picked}
    kept = _asked(checkpoint, found, question)
    if kept is not None:
        _result(kept)


def _asked(
    checkpoint: Checkpoint, found: material.Material, question: dict[str, Any]
) -> Kept | None:
    """What is kept, else what is asked for with the button."""
    sha256 = found.stimuli.sha256
    kept = waiting.localized_before(checkpoint, sha256, **question)
    if kept is not None:
        return kept
    place = (checkpoint.model, sha256, question["category"])
    wanted: set[tuple[str | None, ...]] = st.session_state.setdefault("localize_wanted", set())
    if place not in wanted:
        button = st.empty()
        if not button.button("Find where it sits", type="primary", key="localize_run"):
            st.info("Parts are taken out one by one: this takes a while in large models.")
            return None
        button.empty()
        wanted.add(place)
    return waiting.localized(checkpoint, sha256, found.data, **question)


def _result(kept: Kept) -> None:
    records: list[Localised] = list(kept)
    _gap(kept)
    _heads([r for r in records if r.what == "heads"])
    for what, title in TITLES.items():
        _parts([r for r in records if r.what == what], what, title)
    _table(records)
    findings(kept, "localize_findings")
    st.caption(words.PATCHING)
    with st.expander("How parts are taken out"):
        st.text(show_plain(str(kept.summary["patched"]), 1000))
    limits()
    rests_on(kept)
    frame.downloads(kept, ("json", "csv", "html"), "localize_download")


def _gap(kept: Kept) -> None:
    gap, control = kept.summary["gap"], kept.summary["null_gap"]
    said = words.VERDICTS[gap["verdict"]]
    st.header(said.title)
    if gap["gap"] is not None and said.sound:
        st.text(
            f"The whole gap is {words.ranged(gap['gap'], gap['low'], gap['high'], 'nats')}, over "
            f"{gap['n_items']:,} contrasts of {gap['n_clusters']:,} targets; without bias it "
            "would be 0."
        )
    if control["gap"] is not None:
        told = words.ranged(control["gap"], control["low"], control["high"], "nats")
        st.text(f"On {control['n_items']:,} controls, where nothing should be: {told}.")
    if gap["verdict"] != "bias detected":
        st.warning("Where no gap is shown there is nothing to localise: read the rest as noise.")
    st.text(f"Why: {show_plain(gap['reason'], 1000)}.")
    most = kept.summary["carries_most"]
    rows = [
        [what, show_plain(one["name"], 100), one["effect"], one["share"]]
        for what, one in most.items()
    ]
    if rows:
        st.subheader("What carries most")
        table = pd.DataFrame(rows, columns=["of the", "part", "gap lost, nats", "share of the gap"])
        percent = st.column_config.NumberColumn(format="percent")
        st.dataframe(
            table,
            hide_index=True,
            key="localize_most",
            column_config={"gap lost, nats": frame.FOUR_DIGITS, "share of the gap": percent},
            alt="The part of each kind that carries most of the gap",
        )
        st.caption("Parts work together: shares need not add up to the whole.")


def _heads(records: list[Localised]) -> None:
    if not records:
        return
    st.header("Heads")
    picked = st.session_state.get("localize_head")
    chosen = frame.draw(
        charts_localize.heads(records, picked), "localize_heads", charts_localize.PICK
    )
    if not chosen:
        st.caption("◆ beyond chance. Click a head to read its numbers.")
        return
    found = [r for r in records if (r.layer, r.head) == (chosen.get("layer"), chosen.get("head"))]
    for record in found[:1]:
        st.subheader(f"Layer {record.layer:d}, head {record.head:d}")
        if record.effect is not None:
            st.text(
                f"Without it {words.ranged(record.effect, record.low, record.high, 'nats')} of "
                "the gap is lost."
            )
        st.text(f"{record.verdict}: {show_plain(record.reason, 500)}.")


def _parts(records: list[Localised], what: str, title: str) -> None:
    known = [r for r in records if r.effect is not None]
    if not known:
        return
    st.header(title)
    quantities = list(dict.fromkeys(r.quantity for r in known))
    first = quantity = RANKED if RANKED in quantities else quantities[0]
    if len(quantities) > 1:
        quantity = st.selectbox(
            "What is measured",
            quantities,
            index=quantities.index(first),
            key=f"localize_{what}_quantity",
        )
    st.text(words.quantity_words(quantity))
    part = [r for r in known if r.quantity == quantity]
    frame.draw(charts_localize.bars(part, "nats of the gap"), f"localize_{what}")


def _table(records: list[Localised]) -> None:
    with st.expander("Every part"):
        table = pd.DataFrame([vars(one) for one in records]).dropna(axis=1, how="all")
        for name in ("name", "reason"):
            table[name] = [show_plain(str(one), 300) for one in table[name]]
        st.dataframe(
            table, hide_index=True, key="localize_records", alt=f"{len(table)} parts in numbers"
        )
