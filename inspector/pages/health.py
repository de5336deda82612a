"""Every rule of health: which fail and where, which pass, and what each means."""

import math

import pandas as pd
import streamlit as st

from inspector.pages import frame, waiting
from inspector.report.charts_health import places
from inspector.report.health_words import MEASUREMENTS, WORDS
from inspector.results import SEVERITIES, show_plain
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.health_rules import RULES, Rule
from inspector.weights.makeup import block_label
from inspector.weights.problems import PROBLEMS
from inspector.weights.stored_judgements import Kept

ORDER = (*reversed(SEVERITIES), "passed")
ALL = "all"
LINE, WRAPPED = 75, 66  # letters of a statement that fit beside a name; pixels of a row that wraps
MARKS = {
    "error": ":material/error: error",
    "warning": ":material/warning: warning",
    "info": ":material/info: info",
}


def main() -> None:
    """The page."""
    checkpoint = frame.current()
    st.title("Health")
    st.write(
        "Rules that say whether something may be wrong with the weights. A failure is a reason to "
        "look, not a sentence: what it means and what to do stands beside it."
    )
    kept = waiting.judged(checkpoint, "health")
    if kept is None:
        st.header(f"The {len(RULES)} rules")
        _rules_table(list(RULES), "rules")
        return
    _in_short(kept)
    _where_it_fails(checkpoint, kept)
    shown = _chosen(kept)
    failing = shown[shown["shown_as"] != "passed"]
    st.header(f"Failing rules ({failing['id'].nunique()})")
    for rule in _worst_first(set(failing["id"])):
        _failure(checkpoint, rule, failing[failing["id"] == rule.id])
    if failing.empty:
        st.write("None that these filters let through.")
    passing = set(shown.loc[shown["shown_as"] == "passed", "id"])
    st.header(f"Passing rules ({len(passing)})")
    if passing:
        _rules_table([rule for rule in RULES if rule.id in passing], "passes")
    else:
        st.write("None that these filters let through.")
    _rests_on(kept)
    st.header("Download")
    frame.downloads(kept, ("json", "csv", "sarif", "html"), "health_download")


def _in_short(kept: Kept) -> None:
    failed = {record.id: record.severity for record in kept if not record.passed}
    counts = {
        severity: sum(worst == severity for worst in failed.values()) for severity in SEVERITIES
    }
    frame.metrics(
        {
            "rules passed": f"{kept.summary['passed']} of {kept.summary['rules']}",
            "errors": str(counts["error"]),
            "warnings": str(counts["warning"]),
            "infos": str(counts["info"]),
        }
    )
    if counts["error"]:
        st.write("Mend the errors first: other numbers may be wrong because of them.")
    elif counts["warning"]:
        st.write("No errors. Look at the warnings before you rely on this model.")
    elif counts["info"]:
        st.write("No errors and no warnings; some things are worth knowing.")
    else:
        st.write("No rule fails. That is not proof: rules find only what they look for.")


def _where_it_fails(checkpoint: Checkpoint, kept: Kept) -> None:
    failed = [record for record in kept if not record.passed]
    if not failed:
        return
    rows = [
        [
            WORDS[record.id][0],
            _layer(checkpoint, record.where),
            record.severity,
            record.evidence.get("count", 1) if record.where == "checkpoint" else 1,
        ]
        for record in sorted(failed, key=lambda record: ORDER.index(record.severity))
    ]
    table = pd.DataFrame(rows, columns=["rule", "layer", "severity", "places"])
    summed = table.groupby(["rule", "layer", "severity"], sort=False, as_index=False).sum()
    layers = list(dict.fromkeys(frame.listed(checkpoint)["layer_label"]))
    frame.draw(places(summed, layers), "health_places")


def _layer(checkpoint: Checkpoint, where: str) -> str:
    name = frame.tensor_of(checkpoint, where)
    if name is None:
        return block_label(None, None)
    placement = checkpoint.architecture.placements[name]
    layer = math.nan if placement.layer is None else placement.layer
    return block_label(placement.stack, layer)


def _chosen(kept: Kept) -> pd.DataFrame:
    """The records that the filters let through; `shown_as` is the severity, or "passed"."""
    table = kept.to_frame()
    table["shown_as"] = table["severity"].where(~table["passed"], "passed")
    wanted = st.pills(
        "Show",
        ORDER,
        selection_mode="multi",
        key="severity",
        bind="query-params",
        help="None chosen: all.",
    )
    left, right = st.columns(2, vertical_alignment="bottom")
    rule = left.selectbox(
        "Rule",
        [ALL, *(rule.id for rule in RULES)],
        key="rule",
        bind="query-params",
    )
    text = right.text_input("Text contains (regular expression)", key="health_text")
    keep = table["shown_as"].isin(wanted or ORDER)
    if rule != ALL:
        keep &= table["id"] == rule
    searched = table["id"] + " " + table["where"] + " " + table["statement"] + " " + table["checks"]
    return table[keep & frame.matches(searched, text)]


def _worst_first(ids: set[str]) -> list[Rule]:
    failing = [rule for rule in RULES if rule.id in ids]
    return sorted(failing, key=lambda rule: ORDER.index(PROBLEMS[rule.id][0]))


def _failure(checkpoint: Checkpoint, rule: Rule, records: pd.DataFrame) -> None:
    """One failing rule: what it means, what to do, and where it fails."""
    severity, remedy = PROBLEMS[rule.id]
    title, about = WORDS[rule.id]
    with st.container(border=True):
        left, right = st.columns([7, 1], vertical_alignment="center")
        left.subheader(title)
        right.markdown(MARKS[severity])
        st.write(about)
        st.write(f"**What to do.** {remedy}")
        records = records.reset_index(drop=True)
        event = st.dataframe(
            records[["where", "statement"]].rename(columns={"statement": "what was found"}),
            hide_index=True,
            key=f"places_{rule.id}",
            on_select="rerun",
            selection_mode="single-row",
            row_height=WRAPPED if records["statement"].str.len().max() > LINE else None,
            height="content",
            column_config={
                "where": st.column_config.TextColumn(width=270),
                "what was found": st.column_config.TextColumn(width=480),  # wider ones do not wrap
            },
            alt=f"{len(records)} places where {rule.id} fails",
        )
        st.caption(f"{rule.id}. Passes when: {rule.checks} {_threshold(rule)}")
        if event.selection.rows and event.selection.rows[0] < len(records):
            name = frame.tensor_of(checkpoint, records["where"][event.selection.rows[0]])
            if name is not None:
                frame.go("tensor", tensor=name)
            st.info("This place is no single tensor: the statement says all that is known of it.")


def _threshold(rule: Rule) -> str:
    """What a rule is judged by, in our own words."""
    limit = "" if rule.threshold is None else f"Threshold: {frame.number(rule.threshold)}. "
    return f"{limit}Judged by: {rule.source}."


def _rules_table(rules: list[Rule], key: str) -> None:
    own_words = pd.DataFrame(
        [
            [
                f"**{WORDS[rule.id][0]}**  \n{rule.id}, {PROBLEMS[rule.id][0]} if it fails",
                f"{rule.checks} {_threshold(rule)}",
                WORDS[rule.id][1],
            ]
            for rule in rules
        ],
        columns=["rule", "passes when", "what it is about"],
    )
    with st.container(key=key):
        st.table(own_words, hide_index=True)


def _rests_on(kept: Kept) -> None:
    st.header("What this rests on")
    total = kept.coverage.parameters_total
    st.dataframe(
        pd.DataFrame(
            [
                [
                    title,
                    reads,
                    part["tensors"],
                    part["parameters"],
                    part["parameters"] / total if total else 1.0,
                    part["skipped"],
                ]
                for name, (title, reads) in MEASUREMENTS.items()
                for part in [kept.summary["measured"][name]]
            ],
            columns=[
                "measurement",
                "what it reads",
                "tensors",
                "parameters",
                "share",
                "tensors left out",
            ],
        ),
        hide_index=True,
        key="rests_on",
        column_config={
            "parameters": st.column_config.NumberColumn(format="localized"),
            "share": st.column_config.NumberColumn(format="percent"),
        },
        alt="Measurements that the rules rest on",
    )
    frame.coverage(kept)
    if kept.coverage.skipped:
        skipped = [[show_plain(one.name), one.reason] for one in kept.coverage.skipped]
        st.dataframe(
            pd.DataFrame(skipped, columns=["tensor", "why"]),
            hide_index=True,
            key="health_skipped",
            alt=f"{len(skipped)} tensors that were not measured",
        )


main()
