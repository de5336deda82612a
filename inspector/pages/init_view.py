"""Initialisation of a model and of one tensor: which draw each looks like, and what was trained."""

import numpy as np
import pandas as pd
import streamlit as st

from inspector.pages import frame, views, waiting
from inspector.report import charts_init
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.schemes import SCHEMES, SHAPES
from inspector.weights.stored_judgements import Kept
from inspector.weights.tensor import Histogram, even_edges
from inspector.weights.verdicts import Initialization

BINS = 101
COLUMNS = {
    "name": "tensor",
    "state": "trained?",
    "verdict": "looks like",
    "ks": "KS distance",
    "ks_noise": "of a fresh draw, at most",
    "scale_ratio": "scale / scheme's",
    "reason": "why",
}


def summary(checkpoint: Checkpoint) -> None:
    """The view of a whole model."""
    st.markdown(
        "**What it is.** Before training weights are drawn at random by a scheme: a shape (normal, "
        "uniform) and a scale that depends on the layer's size. Here every tensor is held "
        "against all known schemes.  \n"
        "**What a fresh draw gives.** Its distance (KS: the largest gap between the shares of "
        "values below each point) stays under a limit that chance passes once in 5000 draws, and "
        "its spectrum is that of noise. A trained tensor fits no scheme.  \n"
        "**What to do.** A tensor that looks fresh inside a trained model was never trained, or "
        "was lost on loading and drawn again: find out before you use the part of the model it "
        "belongs to."
    )
    kept = waiting.judged(checkpoint, "init")
    if kept is None:
        return
    facts = kept.summary
    frame.metrics(
        {
            "matrices": str(facts["matrices"]),
            "trained": str(facts["matrices_trained"]),
            "cannot be told from a fresh draw": str(len(facts["untrained"])),
            "not enough data": str(facts["matrices"] - facts["matrices_judged"]),
        }
    )
    _signal(kept)
    st.header("Every tensor")
    st.caption("What was never trained stands on top. A row opens the tensor.")
    vectors = st.toggle("Norms and biases too", value=False, key="init_vectors")
    table = _table(checkpoint, kept, vectors)
    views.open_row(table, COLUMNS, "Initialisation", "inits", f"Schemes of {len(table)} tensors")
    views.end(checkpoint, kept)
    views.more()


def _signal(kept: Kept) -> None:
    predictions = kept.summary["predicted_signal"]
    st.header("Predicted signal by layer")
    if not predictions:
        st.write("Nothing can be predicted: no block has all of its matrices known.")
        return
    st.markdown(
        "From the sizes of the weights alone, for random inputs, nothing was run: the factor by "
        "which each layer changes the variance of a signal on its way up and of a gradient on its "
        "way down. Near 1 is healthy; a product over all layers below 1e-4 (vanishing) or above "
        "1e4 (exploding) makes training hard. Norms between layers mend much of it."
    )
    frame.draw(charts_init.signal_gain(predictions), "signal_gain")


def _table(checkpoint: Checkpoint, kept: Kept, vectors: bool) -> pd.DataFrame:
    table = views.placed(checkpoint, kept)
    fresh = table["untrained"].map(lambda value: value is True)
    trained = table["untrained"].map(lambda value: value is False)
    table["state"] = "not judged"
    table.loc[trained, "state"] = "trained"
    table.loc[fresh, "state"] = "looks fresh"
    table = table.assign(fresh=fresh).sort_values("fresh", ascending=False, kind="stable")
    table["reason"] = table["reason"].map(lambda text: show_plain(text, 300))
    table = table if vectors else table[table["rows"].notna()]
    return table.astype({"ks": float, "ks_noise": float, "scale_ratio": float})


def tensor(checkpoint: Checkpoint, name: str) -> None:
    """The view of one tensor."""
    found = views.of_tensor(checkpoint, "init", name)
    if found is None:
        return
    record: Initialization | None = views.piece(found, "init_piece")
    if record is None:
        return
    _headline(record)
    st.text(show_plain(record.reason, 500))
    _numbers(record)
    _against(checkpoint, name, record, single=len(found.records) == 1)
    views.more()


def _headline(record: Initialization) -> None:
    if record.verdict == "trained":
        st.header("Trained: it fits no known draw")
    elif record.verdict == "not enough data":
        st.header("Not enough data")
    elif record.untrained:
        st.header("It cannot be told from a fresh draw")
    else:
        st.header("It looks as drawn")


def _numbers(record: Initialization) -> None:
    known = {
        "KS distance": record.ks,
        "of a fresh draw, at most": record.ks_noise,
        "scale over the scheme's": record.scale_ratio,
        "spikes (noise: 0)": record.spikes,
        "forward gain": record.forward_gain,
        "backward gain": record.backward_gain,
    }
    frame.metrics({label: frame.number(v) for label, v in known.items() if v is not None})
    st.caption(
        "KS distance: the largest gap between the shares of values below each point, here and in "
        "the nearest shape. Gains: inputs (outputs) times squared scale, the factor on the "
        "variance of a random signal (gradient); schemes aim at about 1 or 2."
    )


def _against(checkpoint: Checkpoint, name: str, record: Initialization, single: bool) -> None:
    if record.kind == "norm":
        return  # it starts at a constant: there is no draw to hold it against
    st.header("Against a fresh draw")
    shapes = list(SHAPES)
    shape_of = {scheme.name: scheme.shape for scheme in SCHEMES}
    scheme = record.scheme or ""
    fits = shape_of.get(scheme, scheme.removesuffix(", other scale"))
    shape = st.selectbox(
        "Shape of the draw, with mean 0 and the size of this tensor",
        shapes,
        index=shapes.index(fits) if fits in shapes else 0,
        key="init_shape",
    )
    values = _values(checkpoint, name, record, single)
    if values is None or record.std == 0:
        st.write("Its values are all zero, or none is finite: there is no spread to compare.")
        return
    frame.draw(charts_init.against_shape(values, record.std, shape), "against_shape")


def _values(
    checkpoint: Checkpoint, name: str, record: Initialization, single: bool
) -> Histogram | None:
    if single:
        return waiting.viewed(checkpoint, name).histogram
    values = views.values_of(checkpoint, name, record.name)
    edges = even_edges(float(values.min()), float(values.max()), BINS)
    return Histogram(edges=edges, counts=np.histogram(values, edges)[0])
