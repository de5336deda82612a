"""Neurons and heads of a model: a view that the Summary page shows."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from inspector.pages import frame, waiting
from inspector.report import charts_heads
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.makeup import block_label
from inspector.weights.stored_judgements import Kept

MOST_ROWS = 200


def show(checkpoint: Checkpoint) -> None:
    """Heads by layer, units that do nothing or repeat another, weights that stand far out."""
    kept = waiting.judged(checkpoint, "neurons")
    if kept is None:
        return
    _heads(kept)
    _units(kept)
    _copies(kept)
    _far_out(checkpoint, kept)
    frame.coverage(kept)
    frame.downloads(kept, ("json", "csv", "html"), "neurons_download")


def _heads(kept: Kept) -> None:
    st.header("Heads")
    heads: list[dict[str, Any]] = kept.summary["heads"]
    if heads:
        known = charts_heads.known_measures(heads)
        name = st.selectbox(
            "Measure",
            known,
            format_func=lambda name: charts_heads.MEASURES[name].title,
            key="head_measure",
        )
        measure = charts_heads.MEASURES[name]
        st.write(measure.about)
        frame.draw(charts_heads.grid(heads, measure), f"heads_{name}")
        with st.expander("Every head"):
            _every_head(heads)
        _composition(kept)
    else:
        st.write("No head could be told apart in this model.")
    if skipped := kept.summary["heads_skipped"]:
        st.caption("Attentions whose heads could not be measured, and why:")
        _table([[one["name"], one["reason"]] for one in skipped], ["attention", "why"], "heads_out")


def _every_head(heads: Sequence[dict[str, Any]]) -> None:
    table = pd.DataFrame(heads)
    table.insert(0, "block", charts_heads.blocks(heads))
    columns = ["block", "head"]
    for circuit in ("ov", "qk"):
        for number in ("norm", "effective_rank"):
            columns += [f"{circuit}_{number}", f"{circuit}_{number}_noise"]
    columns += ["copying", "copying_std_noise", "qk_holds"]
    numbers = [c for c in columns if c not in ("block", "head", "qk_holds")]
    st.dataframe(
        table[columns],
        hide_index=True,
        key="every_head",
        column_config=dict.fromkeys(numbers, frame.FOUR_DIGITS),
        alt=f"{len(table)} heads, each number beside that of noise",
    )


def _composition(kept: Kept) -> None:
    """Which later heads read what an earlier one writes."""
    found = kept.summary["composition"]
    if not found:
        return
    with st.expander("Which head reads from which"):
        st.write(
            "Composition score: how well what the earlier head writes fits what the later one "
            "reads (as query, key or value). Unrelated heads give about the number for noise; a "
            "score several times as large suggests a circuit, to be tested by running the model."
        )
        rows = [
            [
                _block(one),
                one["head"],
                str(one["from_layer"]),
                one["from_head"],
                one["through"],
                one["score"],
                one["noise"],
            ]
            for one in found
        ]
        columns = ["layer", "head", "reads from layer", "head there", "as", "score", "noise"]
        _table(rows, columns, "composition", ["score", "noise"])


def _units(kept: Kept) -> None:
    st.header("Units")
    mlps = kept.summary["units"]
    if not mlps:
        st.write("No MLP could be told apart in this model.")
    else:
        counts = ("dead", "always_on", "always_off", "duplicates")
        unknown = sum(mlp[c] is None for mlp in mlps for c in counts)
        total = sum(mlp["units"] for mlp in mlps)
        known = {c: [mlp[c] for mlp in mlps if mlp[c] is not None] for c in counts}
        st.write(
            "A unit is one hidden number of an MLP. **Dead**: its weights in or out are zero, so "
            "it does nothing. **Always on, always off**: its bias outweighs random inputs 4 to 1. "
            "**Duplicate**: it computes what another computes. A fresh draw has none of these."
        )
        metrics = {"units": f"{total:,}"}
        metrics |= {
            c.replace("_", " "): f"{sum(found):,}" if found else "not known"
            for c, found in known.items()
        }
        frame.metrics(metrics)
        if unknown:
            st.caption("What could not be told is left out: always on and off need a bias.")
        hit = [mlp for mlp in mlps if any(mlp[c] for c in counts)]
        if hit:
            rows = [
                [_block(m), m["name"], m["units"], *(m[c] for c in counts), _numbers(m)]
                for m in hit[:MOST_ROWS]
            ]
            columns = ["layer", "name", "units", "dead", "always on", "always off", "duplicates",
                       "first of them"]  # fmt: skip
            _table(rows, columns, "mlps")
        else:
            st.write("None is dead, stuck or a duplicate.")
    _rows_and_columns(kept)


def _numbers(mlp: dict[str, Any]) -> str:
    """The first units of each sort, by number."""
    sorts = (("dead", "dead_at"), ("stuck", "saturated_at"), ("duplicate", "duplicates_at"))
    return "; ".join(f"{word} {', '.join(map(str, mlp[at][:6]))}" for word, at in sorts if mlp[at])


def _rows_and_columns(kept: Kept) -> None:
    """Matrices with outputs or inputs that do nothing or repeat another."""
    table = kept.to_frame()
    counts = [
        f"{sort}_{axis}"
        for axis in ("out", "in")
        for sort in ("dead", "constant", "duplicates", "anti_parallel", "scaled")
    ]
    hit = table[table[counts].fillna(0).astype(int).sum(axis=1) > 0]
    if hit.empty:
        st.write("No matrix has a row or column that is zero, constant or repeats another.")
        return
    st.write(
        "Matrices with outputs (rows) or inputs (columns) that are zero, constant or point the way "
        f"of another: {len(hit):,}. Of an embedding these are often padding."
    )
    used = [c for c in counts if hit[c].fillna(0).astype(int).any()]
    shown = hit[["name", "rows", "columns", *used]].head(MOST_ROWS)
    _table(
        shown.values.tolist(),
        ["name", "rows", "columns", *(c.replace("_", " ") for c in used)],
        "rows_and_columns",
    )


def _copies(kept: Kept) -> None:
    copies = kept.summary["copies"]
    st.header("Copies")
    if not copies:
        st.write("No head, expert or layer resembles another: unrelated ones have a cosine near 0.")
        return
    st.write("Cosine 1: the same; unrelated ones have about 0. Merging and upcycling leave copies.")
    table = pd.DataFrame(copies)
    for column in table:
        table[column] = [show_plain(v) if isinstance(v, str) else v for v in table[column]]
    st.dataframe(
        table.head(MOST_ROWS), hide_index=True, key="copies", alt=f"{len(table)} pairs of copies"
    )


def _far_out(checkpoint: Checkpoint, kept: Kept) -> None:
    st.header("Weights that stand far out")
    supers = kept.summary["super_weights"]
    far = supers or kept.summary["extremes"]
    if not far:
        st.write("There is no matrix to look at.")
        return
    if supers:
        st.write(
            "Candidates for super weights: single numbers so far out that setting one to zero may "
            "break the model. Keep them exact when you prune or quantise. Click a row to open its "
            "tensor."
        )
    else:
        st.write(
            "No candidate for a super weight. The farthest weights of all, beside what chance "
            "reaches in normal values of that number; click a row to open its tensor."
        )
    rows = [
        [
            show_plain(one["name"]),
            one["row"],
            one["column"],
            one["value"],
            abs(one["z"]),
            one["z_noise"],
            ", ".join(one["published"]),
        ]
        for one in far
    ]
    columns = ["name", "row", "column", "value", "standard deviations", "chance reaches",
               "published for"]  # fmt: skip
    event = st.dataframe(
        pd.DataFrame(rows, columns=columns),
        hide_index=True,
        key="far_out",
        on_select="rerun",
        selection_mode="single-row",
        column_config=dict.fromkeys(columns[3:6], frame.FOUR_DIGITS),
        alt=f"{len(rows)} weights that stand far out",
    )
    if event.selection.rows and event.selection.rows[0] < len(far):
        name = frame.tensor_of(checkpoint, show_plain(far[event.selection.rows[0]]["name"]))
        if name is not None:
            frame.go("tensor", tensor=name)


def _block(one: dict[str, Any]) -> str:
    return block_label(one.get("stack"), one["layer"])


def _table(
    rows: list[list[Any]], columns: list[str], key: str, numbers: Sequence[str] = ()
) -> None:
    plain = [[show_plain(v) if isinstance(v, str) else v for v in row] for row in rows]
    st.dataframe(
        pd.DataFrame(plain, columns=columns),
        hide_index=True,
        key=key,
        placeholder="",
        column_config=dict.fromkeys(numbers, frame.FOUR_DIGITS),
        alt=f"{len(rows)} rows: {', '.join(columns)}",
    )
