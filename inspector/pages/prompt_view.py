"""All that is known of one prompt, each part as soon as it is there."""

import pandas as pd
import streamlit as st

from inspector.model.samples import Asked
from inspector.pages import ablation_view, attention_view, frame, lens_view, waiting
from inspector.pages.prompt_parts import Found, downloads, is_there, refused, rests_on, tokens_of
from inspector.report import charts_lens
from inspector.results import Finding, show_plain
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.stored_judgements import Kept

MOST_TOKENS = 2000  # rows of the table of tokens


def show(checkpoint: Checkpoint, asked: Asked) -> None:
    """Tokens and answer, lens, attention, ablation, and what all of it rests on."""
    found = waiting.prompted(checkpoint, asked.text, asked.target, asked.versus)
    if all(kept is None for kept in found.values()):
        st.caption("Each part is shown here as soon as it is there.")
        return
    _tokens(found)
    lens_view.show(checkpoint, found["lens"])
    attention_view.show(checkpoint, asked, found)
    ablation_view.show(asked, found["ablate"])
    _end(found)


def _tokens(found: Found) -> None:
    st.header("Tokens and answer")
    tokens = tokens_of(found)
    left, right = st.columns([2, 3])
    with left:
        _token_table(tokens)
    with right:
        _answer(found["lens"])


def _token_table(tokens: list[tuple[str, str]]) -> None:
    if not tokens:
        st.caption("The tokens are not there yet, or could not be told.")
        return
    rows = [
        [i, show_plain(name, 60), show_plain(text, 60)] for i, (name, text) in enumerate(tokens)
    ]
    table = pd.DataFrame(rows, columns=["position", "token", "text"])
    st.dataframe(
        table.head(MOST_TOKENS),
        hide_index=True,
        key="tokens",
        height=min(38 + 35 * len(table), 320),
        alt=f"{len(table)} tokens of the prompt",
    )
    st.caption(f"{len(tokens):,} tokens, special ones included.")
    if len(tokens) > MOST_TOKENS:
        st.caption(f"The first {MOST_TOKENS:,} are shown.")


ANSWERS = {
    "causal": "What comes next",
    "masked": "What stands at the mask",
    "classifier": "The class",
    "encoder-decoder": "What the answer begins with",
}


def _answer(lens: Kept | None) -> None:
    if refused(lens):
        return
    assert lens is not None
    at = lens.summary["answer_position"]
    last = lens.summary["layers"][-1]["name"]
    points = [p for p in lens if p.name == last and (p.position is None or p.position == at)]
    st.subheader(ANSWERS[lens.summary["kind"]])
    frame.draw(charts_lens.top(points[0]), "answer")


def _end(found: Found) -> None:
    """Findings of every part, what they rest on, and the parts to take away."""
    there = {name: kept for name, kept in found.items() if kept is not None and is_there(kept)}
    findings: dict[tuple[str, ...], Finding] = {}
    for kept in there.values():
        for finding in kept.findings:
            findings.setdefault((finding.id, finding.where, finding.statement), finding)
    if findings:
        st.header(f"Findings ({len(findings):d})")
        frame.findings_table(tuple(findings.values()), "prompt_findings")
    if there:
        rests_on(next(iter(there.values())), _way(there))
        downloads(there)


def _way(there: dict[str, Kept]) -> str | None:
    kept = there.get("attention") or there.get("maps")
    return None if kept is None else f"{kept.summary['way']}: {kept.summary['way_reason']}"
