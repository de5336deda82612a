"""What the views of probes share: verdict, what was said against it, what the numbers rest on."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from inspector.fairness.probes.records import Probe
from inspector.fairness.probes.table import ProbeKind
from inspector.pages import frame
from inspector.pages.prompt_parts import forget_unless
from inspector.report import bias_words as words
from inspector.results import show_plain
from inspector.weights.stored_judgements import Kept


def verdict(record: Probe, sentence: str) -> None:
    """The verdict, its number in a sentence where that may be read, and why."""
    said = words.VERDICTS[record.verdict]
    st.header(said.title)
    if said.sound:
        st.text(sentence)
        st.caption(said.meaning)
    else:
        st.warning(said.meaning, icon=":material/warning:")
    st.text(f"Why: {show_plain(record.reason, 1000)}.")


def of_metric(records: Sequence[Probe], key: str) -> list[Probe]:
    """The records of one metric; of several someone chooses."""
    known = list(dict.fromkeys(one.metric for one in records))
    chosen = known[0]
    if len(known) > 1:
        forget_unless(key, known)
        chosen = st.selectbox("Number", known, key=key)
    return [one for one in records if one.metric == chosen]


def findings(kept: Kept, key: str) -> None:
    """What was found on the way; nothing where there is none."""
    if kept.findings:
        st.header(f"Findings ({len(kept.findings)})")
        frame.findings_table(kept.findings, key)


def criticism(kind: ProbeKind, open: bool = False) -> None:
    """What was said against the probe and its sets."""
    with st.expander(f"Known criticism ({len(kind.known_criticism)})", expanded=open):
        st.text("\n".join(f"- {one}" for one in kind.known_criticism))


def limits(told: Sequence[tuple[str, str]] = words.LIMITS) -> None:
    """What no score of this kind shows; fixed words with their sources."""
    st.header("What this does not show")
    own_words = pd.DataFrame(told, columns=["what", "who says so"])
    st.table(own_words, hide_index=True)


def rests_on(kept: Kept) -> None:
    """What the numbers rest on."""
    st.header("What this rests on")
    frame.coverage(kept)
    source = kept.source
    lines = [
        f"Computed in {source.dtype} on {source.device}."
        if source.dtype
        else "From the file alone."
    ]
    if "sha256" in kept.summary:
        lines.append(
            f"Data: {show_plain(str(kept.summary['title']), 100)}, sha256 {kept.summary['sha256']}"
        )
    st.text("\n".join(lines))
