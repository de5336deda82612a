"""Attention heads as a map: layer by head, one number beside what noise would give."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from inspector.report.charts import Chart
from inspector.weights.makeup import block_label

Heads = Sequence[Mapping[str, Any]]
MOST_WRITTEN = 400  # cells; in a larger map numbers do not fit
SIGNED = [[0, "#7F3B08"], [0.25, "#E08214"], [0.5, "#F7F7F7"], [0.75, "#8073AC"], [1, "#2D004B"]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure:
    """One number of a head: what it is called, what it says, and how it is coloured.

    `neutral` is what noise gives, in the middle of the colours; `factor`: colours by the logarithm.
    """

    title: str
    about: str
    number: Callable[[Mapping[str, Any]], float | None]
    neutral: float
    factor: bool


def _over_noise(field: str) -> Callable[[Mapping[str, Any]], float | None]:
    def number(head: Mapping[str, Any]) -> float | None:
        value, noise = head[field], head[f"{field}_noise"]
        return value / noise if value is not None and noise else None

    return number


MEASURES: dict[str, Measure] = {
    "ov_norm": Measure(
        title="OV size over noise",
        about="OV is what a head writes for what it reads. Its size is given relative to that of "
        "the same two factors if they had nothing to do with each other: 1 is noise, above 1 they "
        "work together, below 1 they avoid each other. Look at heads far from 1.",
        number=_over_noise("ov_norm"),
        neutral=1.0,
        factor=True,
    ),
    "qk_norm": Measure(
        title="QK size over noise",
        about="QK is what a head compares to decide where to look. Relative to the same two "
        "factors unrelated: 1 is noise; far above 1, queries and keys are tuned to each other and "
        "the head looks sharply. With rotary positions it holds at distance 0 only.",
        number=_over_noise("qk_norm"),
        neutral=1.0,
        factor=True,
    ),
    "copying": Measure(
        title="Copying score",
        about="1: the head writes back whatever it reads (it can copy words); -1: it writes the "
        "opposite; noise gives 0, give or take the spread below. A high score is a hint, to be "
        "tested by running the model.",
        number=lambda head: head["copying"],
        neutral=0.0,
        factor=False,
    ),
    "ov_effective_rank": Measure(
        title="OV effective rank over noise",
        about="How many directions the head moves, as a share of what noise of its shape has. "
        "1: all of them, as in a fresh draw; near 0: it does one thing only.",
        number=_over_noise("ov_effective_rank"),
        neutral=1.0,
        factor=False,
    ),
    "qk_effective_rank": Measure(
        title="QK effective rank over noise",
        about="How many directions the head compares, as a share of what noise of its shape has. "
        "1: all of them, as in a fresh draw; near 0: it looks for one thing only.",
        number=_over_noise("qk_effective_rank"),
        neutral=1.0,
        factor=False,
    ),
}


def known_measures(heads: Heads) -> list[str]:
    """The measures that at least one head has."""
    return [
        name
        for name, measure in MEASURES.items()
        if any(measure.number(head) is not None for head in heads)
    ]


def blocks(heads: Heads) -> list[str]:
    """The block of each head; where one has several attentions, with the attention's own name."""
    labels = [block_label(head["stack"], head["layer"]) for head in heads]
    owners: dict[str, set[str]] = {}
    for label, head in zip(labels, heads, strict=True):
        owners.setdefault(label, set()).add(head["name"])
    return [
        label if len(owners[label]) == 1 else f"{label} {head['name'].rpartition('.')[2]}"
        for label, head in zip(labels, heads, strict=True)
    ]


def grid(heads: Heads, measure: Measure) -> Chart:
    """Layer by head; white is what noise gives."""
    rows = list(dict.fromkeys(blocks(heads)))
    width = max(head["head"] for head in heads) + 1
    cells = np.full((len(rows), width), np.nan)
    for label, head in zip(blocks(heads), heads, strict=True):
        number = measure.number(head)
        cells[rows.index(label), head["head"]] = np.nan if number is None else number
    shown = np.log2(np.maximum(cells, 2.0**-20)) if measure.factor else cells - measure.neutral
    known = np.abs(shown[np.isfinite(shown)])
    limit = float(known.max()) if known.size and known.max() > 0 else 1.0
    ticks = np.linspace(-limit, limit, 5)
    names = 2.0**ticks if measure.factor else ticks + measure.neutral
    figure = go.Figure(
        go.Heatmap(
            z=shown,
            customdata=cells,
            zmin=-limit,
            zmax=limit,
            colorscale=SIGNED,
            x=list(range(width)),
            y=[_spoken(row) for row in rows],
            text=[[f"{v:.2f}" if np.isfinite(v) else "" for v in row] for row in cells],
            texttemplate="%{text}" if cells.size <= MOST_WRITTEN else None,
            xgap=1,
            ygap=1,
            colorbar={"tickvals": ticks, "ticktext": [f"{name:.3g}" for name in names]},
            hovertemplate="%{y}, head %{x}: %{customdata:.4g}<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_xaxes(title="head", dtick=1 if width <= 32 else None, showgrid=False)
    figure.update_layout(
        height=min(120 + 30 * len(rows), 900), margin={"l": 10, "r": 10, "t": 10, "b": 40}
    )
    table = pd.DataFrame(cells, columns=[f"head {i}" for i in range(width)])
    table.insert(0, "layer", rows)
    return Chart(figure=figure, alt=_in_words(heads, rows, cells, measure), table=table)


def _spoken(block: str) -> str:
    return f"layer {block}" if block.isdigit() else block


def _in_words(heads: Heads, rows: list[str], cells: np.ndarray, measure: Measure) -> str:
    finite = np.isfinite(cells)
    if not finite.any():
        return f"{measure.title}: no head has it."
    high = np.unravel_index(np.nanargmax(cells), cells.shape)
    low = np.unravel_index(np.nanargmin(cells), cells.shape)
    text = f"{measure.title} of {int(finite.sum())} heads: " + " to ".join(
        f"{cells[at]:.3g} ({_spoken(rows[at[0]])}, head {at[1]})" for at in (low, high)
    )
    if measure.title == MEASURES["copying"].title:
        spread = max((head["copying_std_noise"] or 0.0 for head in heads), default=0.0)
        beyond = int((np.abs(cells[finite]) > 3 * spread).sum())
        return f"{text}; noise gives 0 ± {spread:.2g}, {beyond} heads are beyond 3 times that."
    return f"{text}; noise gives 1, white."
