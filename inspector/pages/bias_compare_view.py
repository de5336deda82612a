"""The same probe on two models: what changed, item by item."""

import pandas as pd
import streamlit as st

from inspector.fairness.probes.records import Probe
from inspector.fairness.stored import probe_key
from inspector.fairness.verdicts import INVALID
from inspector.pages import baseline, bias_items_view, frame, waiting
from inspector.pages.bias_form import Chosen, ask
from inspector.pages.probe_parts import findings, limits, of_metric, rests_on
from inspector.report import bias_words as words
from inspector.report import charts_bias
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.stored_judgements import Kept


def show(checkpoint: Checkpoint, chosen: Chosen) -> None:
    """The baseline, the form, and what changed."""
    st.write(
        "Both models are asked the same items, and the difference is formed item by item: two "
        "separate intervals would not tell whether anything changed."
    )
    base = baseline.choose(checkpoint)
    if base is None:
        return
    question = ask(checkpoint, chosen, base)
    if question is None:
        return
    asked = question.asked()
    kept = waiting.probed(checkpoint, chosen.probe, chosen.sha256, chosen.data, base, **asked)
    if kept is not None:
        key = probe_key(checkpoint, chosen.probe, chosen.sha256, base, **asked)
        _result(checkpoint, chosen, kept, key)


def _result(checkpoint: Checkpoint, chosen: Chosen, kept: Kept, key: str) -> None:
    records: list[Probe] = list(kept)
    first = records[0]
    verdict = first.change_verdict or INVALID
    st.header(words.CHANGE_TITLES[verdict])
    if verdict == INVALID:
        st.warning("Do not read the change: one of the models could not be measured.")
    else:
        st.text(words.change_sentence(first))
    st.text(f"Why: {show_plain(first.change_reason or 'no number could be compared', 1000)}.")
    compared = [one for one in records if one.change_verdict is not None]
    part = of_metric(compared, "bias_change_metric") if compared else []
    if any(one.change is not None for one in part):
        frame.draw(charts_bias.changes(part, part[0].margin), "changes")
    _quality(kept)
    bias_items_view.show(checkpoint, chosen, waiting.items_of(key), first.scorer)
    findings(kept, "bias_compare_findings")
    limits()
    rests_on(kept)
    frame.downloads(kept, ("json", "csv", "html"), "bias_compare_download")


def _quality(kept: Kept) -> None:
    """What either model can do: bias that fell because a model broke is no progress."""
    before = kept.summary["baseline"]
    st.header("Can both do the task?")
    st.write("Bias that falls because a model breaks is no progress: both must pass the guard.")
    rows = [
        ["baseline", before["verdict"], "; ".join(before["problems"]) or "none"],
        ["open model", kept.summary["verdict"], "; ".join(kept.summary["problems"]) or "none"],
    ]
    rows = [[show_plain(str(cell), 500) for cell in row] for row in rows]
    st.dataframe(
        pd.DataFrame(rows, columns=["model", "its own verdict", "problems"]),
        hide_index=True,
        key="bias_compare_both",
        alt="Verdict and problems of both models",
    )
    numbers = {
        (one["metric"], one["category"]): [one["estimate"], None] for one in before["quality"]
    }
    for one in kept.summary["quality"]:
        numbers.setdefault((one["metric"], one["category"]), [None, None])[1] = one["estimate"]
    if numbers:
        table = pd.DataFrame(
            [[m, show_plain(c, 60), *pair] for (m, c), pair in numbers.items()],
            columns=["metric", "category", "baseline", "open model"],
        )
        st.dataframe(
            table,
            hide_index=True,
            key="bias_compare_quality",
            column_config=dict.fromkeys(("baseline", "open model"), frame.FOUR_DIGITS),
            alt=f"{len(table)} numbers that say what both models can do",
        )
