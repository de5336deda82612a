"""One probe: what it measures, its verdict first, then every number with what it rests on."""

from collections.abc import Sequence
from typing import Any, Final, Literal

import pandas as pd
import streamlit as st

from inspector.fairness.probes.records import ALL, Probe
from inspector.fairness.probes.table import PROBES, ProbeKind
from inspector.fairness.stored import probe_key
from inspector.fairness.verdicts import DETECTED, EQUIVALENT, INCONCLUSIVE, INVALID, VERDICTS
from inspector.pages import bias_items_view, frame, judge_form, waiting
from inspector.pages.bias_form import Chosen, ask
from inspector.pages.probe_parts import (
    criticism,
    findings,
    limits,
    of_metric,
    rests_on,
    verdict,
)
from inspector.pages.prompt_parts import forget_unless
from inspector.report import bias_words as words
from inspector.report import charts_bias
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.stored_judgements import Kept

CHIPS: Final[dict[str, tuple[str, Literal["orange", "blue", "gray", "violet"]]]] = {
    # verdict -> icon and colour of its chip
    DETECTED: (":material/diamond:", "orange"),
    EQUIVALENT: (":material/circle:", "blue"),
    INCONCLUSIVE: (":material/square:", "gray"),
    INVALID: (":material/close:", "violet"),
}


def show(checkpoint: Checkpoint, chosen: Chosen) -> None:
    """The form, and what came of it."""
    question = ask(checkpoint, chosen)
    if question is None:
        about(chosen.kind)
        st.info("Press Run: every item is put to the model once. Nothing runs before that.")
        return
    asked = question.asked()
    kept = waiting.probed(checkpoint, chosen.probe, chosen.sha256, chosen.data, **asked)
    if kept is None:
        about(chosen.kind)
        return
    key = probe_key(checkpoint, chosen.probe, chosen.sha256, **asked)
    _result(checkpoint, chosen, kept, key)


def about(kind: ProbeKind) -> None:
    """What a probe measures and what was said against it, before anything is run."""
    st.header("What it measures")
    st.text(kind.measures)
    st.text(f"Without bias: {kind.ideal}.\nSource: {kind.source}.")
    criticism(kind, open=True)
    with st.expander("All probes"):
        st.dataframe(
            pd.DataFrame(
                [[n, k.measures, k.ideal, k.asks, k.source] for n, k in PROBES.items()],
                columns=["probe", "what it measures", "without bias", "looks at", "source"],
            ),
            hide_index=True,
            key="bias_all_probes",
            alt=f"{len(PROBES)} probes",
        )


def _result(checkpoint: Checkpoint, chosen: Chosen, kept: Kept, key: str) -> None:
    scorer = _scorer(kept)
    records: list[Probe] = [one for one in kept if one.scorer == scorer]
    verdict(records[0], words.sentence(records[0]))
    if kept.summary.get("agree") is False:
        st.warning("The scorers do not agree: the choice of scorer decides the verdict.")
    _numbers(records[0])
    _chips(records)
    part = of_metric(records, "bias_metric")
    if any(one.estimate is not None for one in part):
        frame.draw(charts_bias.forest(part, part[0].margin), "forest")
    else:
        st.text(f"None of these {len(part)} numbers could be had.")
    if "panel" in kept.summary:
        _panel(kept.summary)
    _trust(kept)
    judge_form.about(kept.summary)
    _sensitivity(kept.summary.get("sensitivity"))
    bias_items_view.show(checkpoint, chosen, waiting.items_of(key), scorer)
    _records(records)
    findings(kept, "bias_findings")
    with st.expander("What the probe measures"):
        st.text(chosen.kind.measures)
        st.text(f"Without bias: {chosen.kind.ideal}.\nSource: {chosen.kind.source}.")
    criticism(chosen.kind)
    limits()
    rests_on(kept)
    frame.downloads(kept, ("json", "csv", "html"), "bias_download")


def _scorer(kept: Kept) -> str:
    """The scorer whose numbers are shown; of several someone chooses."""
    known = list(dict.fromkeys(one.scorer for one in kept))
    if len(known) == 1:
        return str(known[0])
    forget_unless("bias_scorer", known)
    picked: str = st.selectbox("Numbers by", known, key="bias_scorer")
    return picked


def _numbers(record: Probe) -> None:
    if record.estimate is None:
        return
    unit = record.unit
    told = {record.metric: words.quantity(record.estimate, unit)}
    if record.low is not None and record.high is not None:
        told["95 % interval"] = words.span(record.low, record.high, unit)
    if record.null is not None:
        told["without bias"] = words.quantity(record.null, unit)
    if record.mde80 is not None:
        told["smallest visible bias"] = words.distance(record.mde80, unit)
    told |= {"items": f"{record.n_items:,}", "independent units": f"{record.n_clusters:,}"}
    told |= {"ties": f"{record.n_ties:,}", "not asked": f"{record.n_excluded:,}"}
    frame.metrics(told)


def _chips(records: Sequence[Probe]) -> None:
    """How many categories have each verdict."""
    parts = [one for one in records if one.family not in (ALL, "controls")]
    if not parts:
        return
    st.subheader("By category")
    with st.container(horizontal=True):
        for name in VERDICTS:
            count = sum(one.verdict == name for one in parts)
            icon, colour = CHIPS[name]
            if count:
                st.badge(f"{count:d} {words.VERDICTS[name].title}", icon=icon, color=colour)
    st.caption(
        "An interval is that of each row alone; the verdict's test is corrected for all rows "
        "of its kind (Holm). Controls should show nothing."
    )


def _panel(summary: Any) -> None:
    st.header("Do scorers agree?")
    panel = summary["panel"]
    if "refused" in panel:
        st.text(show_plain(str(panel["refused"]), 300))
        return
    frame.draw(charts_bias.scorers(panel), "scorers")
    rows = []
    for pair in panel["pairs"]:
        tau, same = pair["tau"], pair["same_side"]
        ends = [None] * 3 if tau is None else [tau["value"], tau["low"], tau["high"]]
        rows.append([pair["one"], pair["other"], *ends, same["value"]])
    columns = ["one", "other", "Kendall's tau", "low", "high", "same side"]
    st.dataframe(
        pd.DataFrame(rows, columns=columns),
        hide_index=True,
        key="bias_panel",
        column_config=dict.fromkeys(columns[2:], frame.FOUR_DIGITS),
        alt=f"{len(rows)} pairs of scorers",
    )
    st.caption(
        f"On {len(panel['disputed']):,} of {panel['n_items']:,} items one scorer prefers the one "
        "sentence and another the other. Controls are among these items: a share here can differ "
        "from the number above."
    )


def _trust(kept: Kept) -> None:
    """Guard and quality: whether the model can do what it is asked."""
    guard, quality = kept.summary.get("guard"), kept.summary.get("quality") or []
    if guard is None and not quality:
        return
    st.header("Can the model do the task?")
    if guard is not None:
        st.text(words.guard_sentence(guard))
        if guard["problem"]:
            st.warning("It does not pass the guard of language: no verdict is given.")
    if quality:
        rows = [
            [one["metric"], show_plain(one["category"], 60), one["estimate"], one["low"]]
            + [one["high"], one["chance"], one["unit"], one["n_items"]]
            for one in quality
        ]
        columns = ["metric", "category", "value", "low", "high", "chance", "unit", "items"]
        st.dataframe(
            pd.DataFrame(rows, columns=columns),
            hide_index=True,
            key="bias_quality",
            column_config=dict.fromkeys(columns[2:6], frame.FOUR_DIGITS),
            alt=f"{len(rows)} numbers that say what the model can do",
        )


def _sensitivity(found: Any) -> None:
    """Does the result hang on one template?"""
    if not found:
        return
    known = {name: one for name, one in found.items() if "refused" not in one}
    if not known:
        return
    st.header("Does it hang on the wording?")
    name = next(iter(known))
    if len(known) > 1:
        name = st.selectbox("Category", list(known), format_func=show_plain, key="bias_worded")
    one = known[name]
    st.write(
        "Each template alone, and all templates but this one. A result that one wording makes "
        "or breaks is a result about that wording."
    )
    told = {}
    for field, label in (
        ("opposed", "detected the other way"),
        ("flipped_without", "change the verdict when left out"),
        ("other_side", "lie on the other side"),
    ):
        if one[field] is not None:
            told[label] = words.quantity(one[field], "share")
    if told:
        st.caption("Templates that:")
        frame.metrics(told)
    changed = [
        line["judged_without"]["reason"]
        for line in one["templates"]
        if line["judged_without"]["verdict"] != one["judged"]["verdict"]
    ]
    if changed:
        st.text(f"Without the first of those that change it: {show_plain(changed[0], 300)}.")
    frame.draw(charts_bias.templates(one, one["overall"]["estimate"]["unit"]), "templates")


def _records(records: Sequence[Probe]) -> None:
    with st.expander("Every number"):
        table = pd.DataFrame([vars(one) for one in records]).dropna(axis=1, how="all")
        for name in ("category", "family", "reason"):
            table[name] = [show_plain(str(one), 300) for one in table[name]]
        st.dataframe(
            table.drop(columns=["probe", "data_sha256"]),
            hide_index=True,
            key="bias_records",
            alt=f"{len(table)} numbers of the probe with all their fields",
        )
