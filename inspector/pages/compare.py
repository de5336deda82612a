"""The open model beside a baseline: what stayed, what moved and how far, tensor by tensor."""

import re

import pandas as pd
import streamlit as st

from inspector.pages import baseline, frame, waiting
from inspector.report import charts_compare
from inspector.report.compare_words import CLASS_TITLES, STATUSES, lines
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.compare import compare
from inspector.weights.drift import CLASSES, by_role
from inspector.weights.stored_judgements import Kept, compare_key
from inspector.weights.tensor_change import TensorChange

ALL = "all"
COLUMNS = ["name", "status", "relative_change", "relative_change_noise", "delta_rank_estimate"]
TITLES = {
    "relative_change": "relative change",
    "relative_change_noise": "rounding alone",
    "delta_rank_estimate": "rank of difference",
    "note": "in words",
}


def main() -> None:
    """The page."""
    tuned = frame.current()
    st.title("Compare")
    st.write("What became of each tensor on the way from a baseline to the open model.")
    base = baseline.choose(tuned)
    if base is None:
        return
    kept = waiting.compared(base, tuned)
    if kept is None:
        _from_headers(base, tuned)
        return
    _in_short(kept)
    _where_it_moved(kept)
    record = _tensors(kept)
    if record is not None:
        _one_tensor(base, tuned, record)
    _steps_of_all(kept)
    _config(base, tuned)
    st.header(f"Findings ({len(kept.findings)})")
    if kept.findings:
        frame.findings_table(kept.findings, "compare_findings")
    else:
        st.write("None.")
    frame.coverage(kept)
    frame.downloads(kept, ("json", "csv", "sarif", "html"), "compare_download")


def _from_headers(base: Checkpoint, tuned: Checkpoint) -> None:
    """What the headers say at once, while values are compared."""
    before = {entry.name: entry for entry in base.tensors}
    after = {entry.name: entry for entry in tuned.tensors}
    both = before.keys() & after.keys()
    reshaped = sum(before[name].shape != after[name].shape for name in both)
    retyped = sum(before[name].dtype != after[name].dtype for name in both)
    st.header("From the headers")
    st.write(
        f"{len(both):,} tensors have the same name in both, {len(before) - len(both):,} are only "
        f"in the baseline, {len(after) - len(both):,} only in the open model. Of the shared ones "
        f"{reshaped:,} have another shape and {retyped:,} another dtype."
    )
    if not both:
        st.write("No name is shared: tensors are now looked for by their content.")
    _config(base, tuned)


def _in_short(kept: Kept) -> None:
    summary = kept.summary
    st.header(CLASS_TITLES[summary["class"]])
    st.write(summary["verdict"])
    counts = {status: n for status, n in summary["statuses"].items() if n}
    size = summary["size"]
    metrics = {status: f"{n:,}" for status, n in counts.items()}
    metrics["by rounding only"] = f"{summary['rounding_only']:,}"
    if size is not None:
        metrics["mean relative change"] = frame.number(size["mean_relative_change"])
    frame.metrics(metrics)
    with st.expander("What these words mean"):
        words = [["status", status, told] for status, told in STATUSES.items()]
        words += [["verdict", CLASS_TITLES[kind], told] for kind, told in CLASSES.items()]
        st.dataframe(
            pd.DataFrame(words, columns=["what", "word", "meaning"]),
            hide_index=True,
            key="compare_words",
            height="content",
            alt="What statuses and verdicts mean",
        )


def _where_it_moved(kept: Kept) -> None:
    st.header("Where it moved")
    st.write(
        "Relative change: length of the difference over the length of what was there. "
        "**=** unchanged, **≈** rounding alone, **+** added, **−** removed, "  # noqa: RUF001
        "**?** not compared. Click a cell to see its tensors below."
    )
    chart = charts_compare.strip(kept.records)
    picked = frame.draw(chart, "strip", charts_compare.PICK)
    if picked != st.session_state.get("strip_before", {}):  # a new click moves the filters
        st.session_state["strip_before"] = picked
        st.session_state["compare_layer"] = picked.get("layer", ALL)
        role = picked.get("role", ALL)
        st.session_state["compare_role"] = ALL if role == charts_compare.ALL_ROLES else role


def _tensors(kept: Kept) -> TensorChange | None:
    """The table of tensors; returns the record to look at closely."""
    st.header("Tensors")
    table = kept.to_frame()
    table["layer_label"] = [charts_compare.layer_of(record) for record in kept]
    table["role_label"] = [by_role(record) for record in kept]
    one, two, three, four = st.columns([3, 1, 1, 1])
    text = one.text_input("Name contains (regular expression)", key="compare_name")
    keep = frame.matches(table["name"], text)
    for place, label, column, key in (
        (two, "Status", "status", "compare_status"),
        (three, "Layer", "layer_label", "compare_layer"),
        (four, "Role", "role_label", "compare_role"),
    ):
        options = [ALL, *dict.fromkeys(table[column])]
        if st.session_state.get(key, ALL) not in options:  # of another comparison
            st.session_state[key] = ALL
        value = place.selectbox(label, options, key=key)
        if value != ALL:
            keep &= table[column] == value
    table = table[keep].sort_values("relative_change", ascending=False, kind="stable")
    shown = [*COLUMNS, "cosine", "changed_fraction", "pattern", "note"]
    numbers = ("relative_change", "relative_change_noise", "cosine", "changed_fraction")
    st.caption(f"{len(table):,} of {len(kept):,} tensors; a row is shown closely below.")
    event = st.dataframe(
        table[shown].assign(name=table["name"].map(show_plain)),
        hide_index=True,
        lazy=False,
        height=min(420, 38 + 35 * max(len(table), 1)),
        key="compare_table",
        on_select="rerun",
        selection_mode="single-row",
        placeholder="",
        column_config={
            "name": st.column_config.TextColumn(width=280),
            **{name: st.column_config.NumberColumn(TITLES.get(name, name.replace("_", " ")),
                                                   format="%.3g") for name in numbers},
            **{name: TITLES[name] for name in ("delta_rank_estimate", "note")},
        },
        alt=f"{len(table)} tensors compared",
    )  # fmt: skip
    if table.empty:
        return None
    rows = [row for row in event.selection.rows if row < len(table)]
    record: TensorChange = kept[int(table.index[rows[0] if rows else 0])]
    return record


def _one_tensor(base: Checkpoint, tuned: Checkpoint, record: TensorChange) -> None:
    """All that is known of one tensor, each number beside what rounding alone would give."""
    st.header("One tensor")
    st.code(show_plain(record.name, 300), language=None, wrap_lines=True)
    st.text(f"{record.status.capitalize()}. {record.note}")
    if numbers := lines(record):
        columns = ["number", "value", "rounding alone", "what it says"]
        own_words = pd.DataFrame(numbers, columns=columns)
        with st.container(key="compare_lines"):
            st.table(own_words, hide_index=True)
    if record.ulp_dtype is not None and record.changed_fraction:
        if _is_small(base, record.renamed_from or record.name) and _is_small(tuned, record.name):
            key = compare_key(base, tuned)
            counts = _ulps_of(base, tuned, key, record.name, record.renamed_from)
            if counts:
                unit = next(iter(counts))
                frame.draw(charts_compare.ulps(counts[unit], unit), "tensor_ulps")
        else:
            st.caption("Its steps are counted with those of all tensors, below: it is large.")
    with st.container(horizontal=True):
        for label, model, name, there in (
            ("In the open model", tuned.model, record.name, record.tuned_shape),
            ("In the baseline", base.model, record.renamed_from or record.name, record.base_shape),
        ):
            if there is not None:
                st.page_link(
                    frame.page("tensor"),
                    label=label,
                    icon=":material/grid_on:",
                    query_params={"model": model, "tensor": name},
                )


def _is_small(checkpoint: Checkpoint, name: str) -> bool:
    return checkpoint.tensor(name).bytes <= waiting.AT_ONCE


@st.cache_resource(max_entries=32, show_spinner="Counting steps")
def _ulps_of(
    _base: Checkpoint, _tuned: Checkpoint, key: str, name: str, before: str | None
) -> dict[str, dict[str, int]]:
    """Steps between the values of one tensor by dtype; `key` stands for both models."""
    names = "|".join(re.escape(one) for one in (name, before) if one is not None)
    found = compare(_base, _tuned, where=rf"\A(?:{names})\Z", workers=1)
    counts: dict[str, dict[str, int]] = found.summary["ulps"]
    return counts


def _steps_of_all(kept: Kept) -> None:
    found = {unit: counts for unit, counts in kept.summary["ulps"].items() if any(counts.values())}
    if not found:
        return
    st.header("Steps of all values that can be compared")
    st.write(
        "A step (unit in the last place, ULP) is the distance from one number of a dtype to the "
        "next. Rounding moves a value by at most one; training moves it by many."
    )
    for unit, counts in found.items():
        frame.draw(charts_compare.ulps(counts, unit), f"ulps_{unit}")


def _config(base: Checkpoint, tuned: Checkpoint) -> None:
    """Entries of config.json that differ."""
    before, after = base.config or {}, tuned.config or {}
    differing = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    st.header(f"Config ({len(differing)} entries differ)")
    if not differing:
        st.write("Both say the same, or neither has one.")
        return
    st.dataframe(
        pd.DataFrame(
            [
                [
                    show_plain(str(key)),
                    show_plain(str(before.get(key, "")), 200),
                    show_plain(str(after.get(key, "")), 200),
                ]
                for key in differing
            ],
            columns=["key", "baseline", "open model"],
        ),
        hide_index=True,
        key="config_changes",
        alt=f"{len(differing)} entries of config.json that differ",
    )


main()
