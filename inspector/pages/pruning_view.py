"""Pruning of a model and of one tensor: what the smallest weights hold, beside a Gaussian's."""

import dataclasses
import math
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from inspector.pages import frame, views, waiting
from inspector.report import charts_grid, charts_pruning
from inspector.report.charts_pruning import GAUSSIAN, GAUSSIANS, SAME, SINGLE, THIS
from inspector.weights import gaussian
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.magnitudes import Magnitudes, magnitudes, refined
from inspector.weights.makeup import block_label
from inspector.weights.pruning import SPARSITIES, PrunedMatrix
from inspector.weights.stored_judgements import Kept, judgement_key

GRID = tuple(percent / 100 for percent in range(101))
MEASURES = {  # label -> (column, title, format)
    "energy lost at 50 %, over a Gaussian's": ("half", "loss at 50 % over a Gaussian's", ".2f"),
    "energy that 2:4 costs, over a Gaussian's": ("two_four", "2:4 loss over a Gaussian's", ".2f"),
    "sparsity that loses 1 % of the energy": ("sparsity_1pct", "sparsity that loses 1 %", ".0%"),
    "zeros already there": ("zero_fraction", "share of zeros", ".2%"),
}
COLUMNS = {
    "name": "tensor",
    "energy_50": "lost at 50 %",
    "energy_90": "at 90 %",
    "sparsity_1pct": "sparsity losing 1 %",
    "cost_2_4": "2:4 costs",
    "cost_4_8": "4:8 costs",
    "zero_fraction": "zeros",
}


def summary(checkpoint: Checkpoint) -> None:
    """The view of a whole model."""
    st.markdown(
        "**What it is.** Magnitude pruning sets the smallest weights to zero. The energy they "
        "hold (the sum of their squares) is what the matrix loses; its relative error is the "
        "square root of that.  \n"
        "**What a Gaussian gives.** Normal numbers lose 7.13 % of their energy with the smallest "
        "half, 56.1 % with 90 %, and 13.2 % by 2:4 pruning. A matrix below that has many weights "
        "near zero and few large ones: it is easier to prune than its size says.  \n"
        "**What to do.** Use the curve to choose where to prune and how far, then measure the "
        "pruned model on your task: energy is not accuracy, and only running it tells."
    )
    kept = waiting.judged(checkpoint, "prune")
    if kept is None:
        return
    groups = {_label(g): g for g in kept.summary["groups"] if g["energy_global"] is not None}
    if not groups:
        st.info("There is no matrix with values other than zero.")
        views.end(checkpoint, kept)
        return
    st.header("Energy lost")
    chosen = groups[st.selectbox("Curve of", list(groups), key="prune_group")]
    _group(kept, chosen)
    st.header("By layer and role")
    table = _table(checkpoint, kept)
    measure = st.selectbox("Measure", list(MEASURES), key="prune_measure")
    column, title, form = MEASURES[measure]
    frame.draw(charts_grid.grid(table, column, title, form), "prune_grid")
    if measure in list(MEASURES)[:2]:
        st.caption("Below 1, a matrix loses less than a Gaussian of its size would.")
    _zeros(table)
    st.header("Every matrix")
    order = table.sort_values("energy_50", kind="stable")
    views.open_row(
        order, COLUMNS, "Pruning", "pruned", f"Pruning of {len(table)} matrices", tuple(COLUMNS)[1:]
    )
    st.caption(
        f"Easiest first. A Gaussian: {gaussian.energy_lost(np.array(0.5)):.4f} at 50 %, "
        f"{gaussian.energy_lost(np.array(0.9)):.3f} at 90 %, sparsity "
        f"{gaussian.sparsity_losing(0.01):.3f} loses 1 %, 2:4 costs "
        f"{gaussian.pattern_cost(2, 4):.4f}, 4:8 {gaussian.pattern_cost(4, 8):.4f}."
    )
    views.end(checkpoint, kept)
    views.more()


def _label(group: dict[str, Any]) -> str:
    if group["by"] == "layer":
        block = block_label(group["stack"], group["layer"])
        return f"layer {block}" if block.isdigit() else block
    return {"model": "the whole model", "blocks": "all layers"}.get(
        group["by"], f"role {group['role']}"
    )


def _group(kept: Kept, group: dict[str, Any]) -> None:
    curves = {SINGLE: group["energy_global"], GAUSSIANS: group["energy_global_noise"]}
    if group["matrices"] > 1:
        curves[SAME] = group["energy_uniform"]
    curves[GAUSSIAN] = group["energy_noise"]
    frame.draw(charts_pruning.energy_curves(kept.summary["sparsities"], curves), "energy_curves")
    error = group["energy_error"]
    st.caption(
        f"{group['matrices']:,d} matrices, {group['parameters']:,d} weights. One threshold for all "
        "takes the smallest weights wherever they are; matrices of different sizes then lose "
        f"different shares. Losing 1 % of the energy: {group['sparsity_1pct']:.1%} of the weights, "
        f"of Gaussians {group['sparsity_1pct_noise']:.1%}. "
        f"{'Exact.' if not error else f'Too high by at most {error:.1e}.'}"
    )


def _table(checkpoint: Checkpoint, kept: Kept) -> pd.DataFrame:
    table = views.placed(checkpoint, kept)
    numbers = ["energy_50", "energy_90", "sparsity_1pct", "cost_2_4", "cost_4_8"]
    table = table.astype(dict.fromkeys(numbers, float))
    table["half"] = table["energy_50"] / table["energy_50_noise"]
    table["two_four"] = table["cost_2_4"] / table["cost_2_4_noise"]
    return table


def _zeros(table: pd.DataFrame) -> None:
    columns = {
        "name": "tensor",
        "zeros": "zeros",
        "zero_fraction": "share",
        "zero_rows": "rows of zeros only",
    }
    columns |= {"zero_columns": "columns", "zero_blocks": "16 x 16 blocks", "kept_2_4": "fit 2:4"}
    some = table[table["zeros"] > 0].sort_values("zero_fraction", ascending=False, kind="stable")
    st.header("Zeros already there")
    if some.empty:
        st.write("None: no weight is exactly zero, so nothing was pruned before.")
        return
    views.open_row(
        some, columns, "Pruning", "zeros", f"Zeros of {len(some)} matrices", ("kept_2_4",)
    )
    st.caption(
        "Where whole rows, columns, blocks or 2:4 groups are zero far more often than chance "
        "would have it, someone pruned to a structure."
    )


def tensor(checkpoint: Checkpoint, name: str) -> None:
    """The view of one tensor."""
    found = views.of_tensor(checkpoint, "prune", name)
    if found is None:
        return
    record: PrunedMatrix | None = views.piece(found, "prune_piece")
    if record is None:
        return
    if record.energy_50 is None:
        st.info("All its weights are zero: there is no energy to lose.")
        return
    st.header("Energy lost")
    st.markdown(
        "The smallest weights go first; the energy they hold is what is lost. A curve below the "
        "Gaussian's means that few weights carry most of the matrix, and pruning is cheap."
    )
    if record.rows * record.columns * 4 <= waiting.AT_ONCE:
        _slider(checkpoint, name, record)
    else:
        _points(record)
    _patterns(record)
    _structure(record)
    _proxy(record)
    views.more()


@st.cache_resource(max_entries=8, show_spinner="Counting magnitudes")
def _magnitudes(id: str, name: str, record_name: str, _checkpoint: Checkpoint) -> Magnitudes:
    values = np.ascontiguousarray(views.values_of(_checkpoint, name, record_name))
    return refined(magnitudes(values), values, GRID)


def _slider(checkpoint: Checkpoint, name: str, record: PrunedMatrix) -> None:
    id = judgement_key(checkpoint, "prune")
    found = _magnitudes(id, name, record.name, checkpoint)
    percent = st.slider("Sparsity: per cent of the weights removed", 0, 100, 50, key="sparsity")
    at = percent / 100
    lost = float(found.energy_lost([at])[0])
    of_gaussian = float(gaussian.energy_lost(np.array(at)))
    frame.metrics(
        {
            "removed up to |w|": frame.number(float(found.thresholds([at])[0])),
            "energy lost": f"{lost:.2%}",
            "a Gaussian loses": f"{of_gaussian:.2%}",
            "relative error": f"{math.sqrt(lost):.1%}",
            "of a Gaussian": f"{math.sqrt(of_gaussian):.1%}",
        }
    )
    curves = {
        THIS: found.energy_lost(GRID).tolist(),
        GAUSSIAN: gaussian.energy_lost(np.array(GRID)).tolist(),
    }
    frame.draw(charts_pruning.energy_curves(GRID, curves, at), "energy_curve")


def _points(record: PrunedMatrix) -> None:
    fields = dataclasses.asdict(record)
    mine = [fields[f"energy_{100 * s:.0f}"] for s in SPARSITIES]
    noise = gaussian.energy_lost(np.array(SPARSITIES)).tolist()
    curves = {THIS: [0.0, *mine, 1.0], GAUSSIAN: [0.0, *noise, 1.0]}
    frame.draw(charts_pruning.energy_curves((0.0, *SPARSITIES, 1.0), curves), "energy_curve")
    st.caption("Exact at 10, 25, 50, 70 and 90 %; straight lines between them.")


def _patterns(record: PrunedMatrix) -> None:
    st.header("Patterns that hardware runs faster")
    st.markdown(
        "2:4 keeps the two largest of every four neighbouring inputs, 4:8 four of eight: half of "
        "the weights go either way, at a higher price than if any half may go."
    )
    rows = [
        ["any half", record.energy_50, record.energy_50_noise, None],
        ["4:8", record.cost_4_8, record.cost_4_8_noise, record.kept_4_8],
        ["2:4", record.cost_2_4, record.cost_2_4_noise, record.kept_2_4],
    ]
    columns = ["pattern", "energy lost", "a Gaussian loses", "groups that fit already"]
    percent = st.column_config.NumberColumn(format="percent")
    st.dataframe(
        pd.DataFrame(rows, columns=columns),
        hide_index=True,
        key="patterns",
        column_config=dict.fromkeys(columns[1:], percent),
        alt="Energy that pruning half of the weights takes in three patterns",
    )


def _structure(record: PrunedMatrix) -> None:
    st.header("Zeros already there")
    if not record.zeros:
        st.write("No weight is exactly zero.")
        return
    st.write(f"{record.zeros:,d} weights ({record.zero_fraction:.2%}) are exactly zero.")
    rows = [
        ["rows", record.zero_rows, record.zero_rows_random],
        ["columns", record.zero_columns, record.zero_columns_random],
        ["blocks of 16 x 16", record.zero_blocks, record.zero_blocks_random],
    ]
    st.dataframe(
        pd.DataFrame(rows, columns=["of zeros only", "found", "by chance"]),
        hide_index=True,
        key="zero_structure",
        column_config={"by chance": frame.FOUR_DIGITS},
        alt="Rows, columns and blocks that hold zeros only, and what chance would give",
    )


def _proxy(record: PrunedMatrix) -> None:
    st.header("With what feeds it")
    if record.norm is None or record.output_50_rows is None or record.output_50_proxy is None:
        st.text(f"Only its own weights count: {record.no_norm or 'no energy'}.")
        return
    st.markdown(
        "Inputs that come through a norm are scaled by its gains; small weights on strong inputs "
        "matter more than they look. Weighted so (as Wanda does, were the normalised inputs "
        "alike), and with half of every row gone, the outputs lose:"
    )
    frame.metrics(
        {
            "by |weight|": f"{record.output_50_rows:.2%}",
            "by |weight| times |gain|": f"{record.output_50_proxy:.2%}",
        }
    )
    st.code(record.norm, language=None)
