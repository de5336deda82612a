"""Groups: whether a classifier treats the people that texts are by or about alike."""

from collections import Counter
from typing import Any, Final

import pandas as pd
import streamlit as st

from inspector.fairness.items import Labelled, Stimuli
from inspector.fairness.probes.table import PROBES
from inspector.fairness.stored import probe_key
from inspector.model.kinds import kind_of
from inspector.model.samples import class_of
from inspector.pages import frame, groups_view, material, waiting
from inspector.pages.groups_form import PROBE, Question, ask
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint

EXAMPLE: Final = """id,text,label,group_gender,group_age
a1,She has led three teams.,hire,woman,old
a2,He was late twice.,reject,man,young
"""
MOST_LABELS: Final = 200


def main() -> None:
    """The page."""
    checkpoint = frame.current()
    st.title("Groups")
    st.write(
        "Does a classifier select, and err, alike for all groups? You give texts with their right "
        "labels and the groups they belong to; every gap stands beside what chance alone gives."
    )
    if kind_of(class_of(checkpoint)) != "classifier":
        _no_classifier(checkpoint)
        return
    kind = PROBES[PROBE]
    found = material.choose(checkpoint, kind.shipped, kind.given, "groups")
    if found is None:
        _wanted()
        return
    _read(found.stimuli)
    question = ask(checkpoint, found.stimuli)
    if question is None:
        st.info("Press Run: every text is put to the model once. Nothing runs before that.")
        return
    _result(checkpoint, found, question)


def _result(checkpoint: Checkpoint, found: material.Material, question: Question) -> None:
    asked: dict[str, Any] = question.asked()
    sha256 = found.stimuli.sha256
    kept = waiting.probed(checkpoint, PROBE, sha256, found.data, **asked)
    if kept is not None:
        items = waiting.items_of(probe_key(checkpoint, PROBE, sha256, **asked))
        groups_view.show(kept, items, PROBES[PROBE])


def _no_classifier(checkpoint: Checkpoint) -> None:
    named = show_plain(class_of(checkpoint) or "no class that its config names", 80)
    st.warning("The open model is no classifier: it names no class for a text.")
    st.text(
        f"Its class is {named}. This page needs one that ends in ForSequenceClassification: open "
        "one that was fine-tuned for a task, or fine-tune this one for yours first."
    )
    st.page_link(frame.page("home"), label="Open another model", icon=":material/home:")
    st.page_link(
        frame.page("bias"),
        label="Probe this model on the Bias page",
        icon=":material/balance:",
        query_params={"model": checkpoint.model},
    )


def _wanted() -> None:
    st.header("What the file looks like")
    st.code(EXAMPLE, language=None)
    st.caption(
        "A row for each text: text, its right label as the model names it, and one column for "
        "each attribute, named group or group_ and its name. id is optional. CSV, TSV, JSON Lines "
        "and YAML are read."
    )


def _read(stimuli: Stimuli[Labelled]) -> None:
    """What is in the file: texts, labels, groups; what was left out and why."""
    attributes = list(stimuli.items[0].groups)
    labels = Counter(item.label for item in stimuli.items)
    st.header("What was read")
    frame.metrics(
        {
            "texts": f"{len(stimuli.items):,}",
            "rows read": f"{stimuli.rows:,}",
            "left out": f"{len(stimuli.excluded):,}",
            "labels": f"{len(labels):,}",
            "attributes": f"{len(attributes):,}",
        }
    )
    with st.expander("Labels, groups, and what was left out and why"):
        rows = [["label", "", show_plain(name, 80), n] for name, n in labels.most_common()]
        for attribute in attributes:
            sizes = Counter(item.groups[attribute] for item in stimuli.items)
            name = show_plain(attribute, 60)
            rows += [["group", name, show_plain(group, 80), n] for group, n in sizes.most_common()]
        st.dataframe(
            pd.DataFrame(rows[:MOST_LABELS], columns=["what", "attribute", "name", "texts"]),
            hide_index=True,
            key="groups_columns",
            height="content" if len(rows) < 12 else 420,
            alt=f"{len(labels)} labels and the groups of {len(attributes)} attributes, with counts",
        )
        if len(rows) > MOST_LABELS:
            st.caption(f"The first {MOST_LABELS:d} of {len(rows):,}.")
        material.left_out(stimuli, "groups")


main()
