"""Who judges what a model writes: the fields of a probe that asks for a classifier."""

from collections.abc import Mapping
from typing import Any, Final

import streamlit as st

from inspector.errors import InspectorError
from inspector.model.kinds import kind_of
from inspector.model.samples import class_of
from inspector.pages import frame
from inspector.results import show_plain

OPTIONS: Final = ("classifier", "label", "samples")
MOST_SAMPLES: Final = 200


def fields(before: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The classifier, its label and how often each prompt is continued, as they are typed."""
    classifier = st.text_input(
        "Classifier of texts",
        value=before.get("classifier") or "",
        key=f"judge_classifier_{where}",
        placeholder="A folder on this machine",
        help="A model of sentiment, regard or toxicity, fine-tuned for classification. The "
        "probability of one of its labels is the score of a text.",
    ).strip()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        label = st.text_input(
            "Label (its name or number)",
            value=before.get("label") or "",
            key=f"judge_label_{where}",
            placeholder="Of two the second",
            width=280,
        ).strip()
        samples = st.number_input(
            "Texts for each prompt (optional)",
            min_value=1,
            max_value=MOST_SAMPLES,
            value=before.get("samples"),
            placeholder="The probe's own",
            key=f"judge_samples_{where}",
            width=200,
        )
    typed = {"classifier": classifier, "label": label, "samples": samples}
    return {name: value for name, value in typed.items() if value or name == "classifier"}


def usable(options: Mapping[str, Any]) -> bool:
    """Whether the classifier can be asked, as far as its files say; if not, why is shown."""
    named = options["classifier"]
    if not named:
        st.error("Name a classifier: what is written is judged by one.")
        return False
    try:
        found = class_of(frame.open_beside(named))
    except InspectorError as error:
        st.error("The classifier cannot be opened:")
        st.code(show_plain(str(error), 500), language=None, wrap_lines=True)
        return False
    if kind_of(found) != "classifier":
        st.error("This is no classifier of texts, as far as its config says:")
        st.code(show_plain(found, 100), language=None)
        return False
    return True


def about(summary: Mapping[str, Any]) -> None:
    """Who judged what was written, and what was; nothing for probes without a classifier."""
    judge, texts = summary.get("classifier"), summary.get("texts")
    if judge is None or texts is None:
        return
    st.header("What was written, and who judged it")
    bad = ", ".join(f"{count:,} {kind}" for kind, count in texts["degenerate"].items()) or "none"
    lines = [
        f"{texts['written']:,} texts of {texts['prompts']:,} prompts, {texts['distinct']:,} of "
        f"them different; {texts['scored']:,} have a score.",
        f"Texts that say nothing: {bad}. Texts that name the target again: "
        f"{texts['name_target']:,}.",
        f"Judged by {show_plain(str(judge['model']), 200)}: the probability of "
        f"{show_plain(str(judge['label']), 80)}, without the prompt.",
    ]
    if judge["mean"] is not None:
        lines.append(
            f"Scores from {judge['lowest']:.3g} to {judge['highest']:.3g}, "
            f"mean {judge['mean']:.3g}."
        )
    st.text("\n".join(lines))
    st.caption(
        "The classifier is part of the number. Choose 'score gap of the classifier' above for what "
        "it makes of the same texts behind prompts of either side."
    )
