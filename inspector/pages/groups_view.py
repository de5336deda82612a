"""What came of asking about groups: verdict first, rates, gaps, calibration, flips, texts."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
import streamlit as st

from inspector.fairness.probes.classifier_parts import PARITY_RATIO
from inspector.fairness.probes.records import ALL, Probe
from inspector.fairness.probes.table import ProbeKind
from inspector.fairness.stored import Item
from inspector.fairness.verdicts import INCONCLUSIVE
from inspector.pages import frame, groups_items_view, probe_parts
from inspector.report import bias_words, charts_groups
from inspector.report import groups_words as words
from inspector.results import show_plain
from inspector.weights.stored_judgements import Kept

Row = Mapping[str, Any]
NUMBERS: Final = ["estimate", "low", "high", "by chance", "p, corrected", "smallest visible"]


def show(kept: Kept, items: Sequence[Item], kind: ProbeKind) -> None:
    """The whole result; what is chosen on the way redraws what is there already."""
    records: list[Probe] = list(kept)
    _verdict(records[0], kept)
    attribute = _attribute(kept)
    rows = _rates(kept, attribute)
    _gaps(records, attribute)
    _signed(records, attribute)
    _calibration(kept, attribute)
    if kept.summary["swaps"] is not None:
        _swaps(records, kept)
    _quality(kept)
    groups_items_view.show(items)
    _small(rows, kept)
    probe_parts.findings(kept, "groups_findings")
    probe_parts.criticism(kind)
    probe_parts.limits(words.LIMITS)
    probe_parts.rests_on(kept)
    frame.downloads(kept, ("json", "csv", "html"), "groups_download")


def _verdict(record: Probe, kept: Kept) -> None:
    probe_parts.verdict(record, words.sentence(record))
    told = {}
    if record.estimate is not None and record.low is not None and record.high is not None:
        told = {
            "widest gap in errors": words.size(record.estimate, record.unit),
            "95 % interval": words.ends(record.low, record.high, record.unit),
        }
    if record.expected is not None:
        told["by chance alone"] = words.size(record.expected, record.unit)
    predictions = kept.summary["predictions"]
    told |= {
        "texts": f"{predictions['texts']:,}",
        "classified": f"{predictions['classified']:,}",
    }
    if (accuracy := _quality_of(kept, "accuracy")) is not None:
        told["right"] = bias_words.quantity(accuracy, "share")
    frame.metrics(told)
    st.caption(
        "The headline is the widest gap between groups in true or false positives, over all "
        "attributes, one by one."
    )


def _quality_of(kept: Kept, metric: str) -> float | None:
    found = [one["estimate"] for one in kept.summary["quality"] if one["metric"] == metric]
    return found[0] if found else None


def _attribute(kept: Kept) -> str:
    """The attribute that is looked at; the last of several is all of them crossed."""
    names = list(kept.summary["attributes"])
    st.header("Rates by group")
    if len(names) == 1:
        return str(names[0])
    picked: str = st.selectbox(
        "Attribute", names, format_func=lambda one: show_plain(one, 60), key="groups_attribute"
    )
    return picked


def _rates(kept: Kept, attribute: str) -> list[Row]:
    outcomes = list(kept.summary["outcomes"])
    outcome = outcomes[0]
    if len(outcomes) > 1:
        outcome = st.selectbox(
            "Class", outcomes, format_func=lambda one: show_plain(one, 60), key="groups_class"
        )
    rows = [one for one in kept.summary["rates"] if one["attribute"] == attribute]
    shown = [one for one in rows if one["outcome"] in (None, outcome)]
    st.text(f"Selected means: the model says {show_plain(str(outcome), 60)!r}.")
    frame.draw(charts_groups.rates(shown), "groups_rates")
    with st.expander("What the rates are shares of"):
        st.text("\n".join(f"{name}: {what}" for name, what in words.RATES.items()))
    _table(shown, kept.summary["fewest"])
    return rows


def _table(rows: Sequence[Row], fewest: int) -> None:
    """A row for each group: how many texts, and every rate with its interval and count."""
    groups = list(dict.fromkeys(one["group"] for one in rows))
    kinds = list(dict.fromkeys(one["rate"] for one in rows))
    known = {(one["group"], one["rate"]): one for one in rows}
    told = []
    for group in groups:
        cells = [_cell(known[group, kind]) for kind in kinds]
        told.append([show_plain(str(group), 80), known[group, "correct"]["n"], *cells])
    st.dataframe(
        pd.DataFrame(told, columns=["group", "texts", *kinds]),
        hide_index=True,
        key="groups_table",
        column_config={"group": st.column_config.TextColumn(width="medium")},
        alt=f"{len(groups)} groups with their rates, 95 % intervals and counts",
    )
    st.caption(f"In brackets the 95 % interval. * rests on under {fewest:d} texts: not compared.")


def _cell(one: Row) -> str:
    if one["estimate"] is None:
        return "no text *"
    ends = f"{100 * one['low']:.0f} to {100 * one['high']:.0f}"
    star = "" if one["compared"] else " *"
    return f"{100 * one['estimate']:.1f} % ({ends}), n = {one['n']:,}{star}"


def _gaps(records: Sequence[Probe], attribute: str) -> None:
    st.header("How far groups are apart")
    name = attribute if attribute != ALL else f"attribute {ALL}"
    own = [one for one in records if one.category == name]
    widths = [one for one in own if one.metric != PARITY_RATIO]
    frame.draw(charts_groups.gaps(widths), "groups_gaps")
    for one in own:
        if one.metric == PARITY_RATIO:
            st.text(words.four_fifths(one))
    by_class = [one for one in records if one.category.startswith(f"{name}, class ")]
    _numbers([*own, *by_class], "groups_numbers", "gaps")
    st.caption(
        "Chance alone gives a widest gap above zero, the more so with many small groups. "
        "Intervals hold for all pairs of groups at once; p is corrected over the attributes."
    )


def _numbers(records: Sequence[Probe], key: str, what: str) -> None:
    told = [
        [
            one.metric,
            show_plain(one.category, 80),
            "not tested" if one.verdict == INCONCLUSIVE and one.p_value is None else one.verdict,
            *(one.estimate, one.low, one.high, one.expected, one.p_adjusted, one.mde80),
            one.n_items,
            words.MEANINGS.get(one.metric),
        ]
        for one in records
    ]
    columns = ["metric", "of", "verdict", *NUMBERS, "texts", "compares"]
    table = pd.DataFrame(told, columns=columns).dropna(axis=1, how="all")
    st.dataframe(
        table.drop(columns="of") if table["of"].nunique() < 2 else table,
        hide_index=True,
        key=key,
        column_config=dict.fromkeys(NUMBERS, frame.FOUR_DIGITS),
        alt=f"{len(told)} {what} with intervals and verdicts",
    )


def _signed(records: Sequence[Probe], attribute: str) -> None:
    """Each group against all others; crossed groups have no such numbers."""
    name = attribute if attribute != ALL else f"attribute {ALL}"
    own = [one for one in records if one.category.startswith(f"{name}=")]
    if own:
        with st.expander("Each group less all others, with a sign"):
            _numbers(own, "groups_signed", "signed differences")


def _calibration(kept: Kept, attribute: str) -> None:
    rows = [one for one in kept.summary["reliability"] if one["attribute"] == attribute]
    if not rows:
        return
    st.header("Do its probabilities come true?")
    frame.draw(charts_groups.calibration(rows), "groups_calibration")
    columns = ["excess", "excess_low", "excess_high", "error", "error_by_chance", "error_p"]
    named = ["forecast less truth", "low", "high", "calibration error", "by chance", "p"]
    told = [[show_plain(str(one["group"]), 80), one["n"], *map(one.get, columns)] for one in rows]
    st.dataframe(
        pd.DataFrame(told, columns=["group", "texts", *named]),
        hide_index=True,
        key="groups_reliability",
        column_config=dict.fromkeys(named, frame.FOUR_DIGITS),
        alt=f"Calibration of {len(rows)} groups",
    )
    st.caption(
        "Calibration error is never zero: beside it is what it would be if every probability "
        "were true."
    )


def _swaps(records: Sequence[Probe], kept: Kept) -> None:
    st.header("Words swapped")
    found = kept.summary["swaps"]
    told = {"texts swapped": f"{found['swapped']:,}", "decisions flipped": f"{found['flipped']:,}"}
    told |= {show_plain(f"not: {why}", 60): f"{n:,}" for why, n in found["excluded"].items()}
    frame.metrics(told)
    _numbers([one for one in records if one.category == "swaps"], "groups_swaps", "numbers")
    st.caption(
        "Net flips and log-odds are from the first words of the pairs to the second ones: below "
        "zero the second ones are selected less. Any change of words moves log-odds, so only net "
        "flips are tested."
    )


def _quality(kept: Kept) -> None:
    st.header("Can the model do the task?")
    rows = [
        [one["metric"], one["estimate"], one["low"], one["high"], one["chance"], one["n_items"]]
        for one in kept.summary["quality"]
    ]
    numbers = ["value", "low", "high", "without skill"]
    st.dataframe(
        pd.DataFrame(rows, columns=["metric", *numbers, "texts"]),
        hide_index=True,
        key="groups_quality",
        column_config=dict.fromkeys(numbers, frame.FOUR_DIGITS),
        alt="Accuracy and balanced accuracy beside what a constant answer would have",
    )
    if kept.summary["problems"]:
        st.warning("It is not shown to be better than chance: no verdict is given.")


def _small(rows: Sequence[Row], kept: Kept) -> None:
    small = [one for one in rows if not one["compared"]]
    if not small:
        return
    st.header("Not compared")
    st.caption(f"Rates of this attribute that rest on under {kept.summary['fewest']:d} texts.")
    st.dataframe(
        pd.DataFrame(
            [
                [show_plain(str(one["group"]), 80), one["rate"], show_plain(str(one["outcome"])),
                 one["n"]]
                for one in small
            ],
            columns=["group", "rate", "class", "texts"],
        ),
        hide_index=True,
        key="groups_small",
        alt=f"{len(small)} rates that are not compared",
    )  # fmt: skip
