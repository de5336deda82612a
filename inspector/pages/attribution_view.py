"""One attribution: verdict, signed tokens, bars, and the receipt."""

import pandas as pd
import streamlit as st

from inspector.model.records import TokenScore
from inspector.pages import frame
from inspector.pages.attribution_form import Question, ask_again
from inspector.report import attribution_words as words
from inspector.report import charts_attribution
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.stored_judgements import Kept

AT_THE_TOP = ("AT-GAP", "AT-SEAM", "AT-DTYPE", "MD-NOTFINITE", "MD-SELFTEST")  # not to be missed


def show(checkpoint: Checkpoint, question: Question, kept: Kept) -> None:
    """Everything about one question and one method."""
    doubt = _verdict(kept)
    _numbers(kept)
    if question.versus is not None:
        st.button(
            "Swap the two answers",
            key="swap",
            icon=":material/swap_horiz:",
            on_click=ask_again,
            args=(checkpoint.model, question.swapped),
            help="Asks for the other answer instead of this one: every sign flips.",
        )
    _tokens(kept, doubt)
    _bars(kept, doubt)
    _receipt(kept)


def _verdict(kept: Kept) -> str | None:
    """The verdict on top; returns why the picture is not to be read, None where it may be."""
    summary = kept.summary
    verdict = words.VERDICTS[summary["verdict"]]
    st.header(verdict.title)
    missed = summary["completeness"] == "missed"
    if verdict.holds and not missed:
        st.success(verdict.advice, icon=":material/check_circle:")
    else:
        st.warning(verdict.advice, icon=":material/warning:")
    if missed:
        st.warning(words.COMPLETENESS["missed"], icon=":material/warning:")
    st.text(show_plain(summary["told"], 500))
    for finding in kept.findings:
        if finding.id in AT_THE_TOP:
            st.text(f"{finding.severity}: {show_plain(finding.statement, 500)}. {finding.remedy}")
    return words.doubt(summary)


def _numbers(kept: Kept) -> None:
    summary = kept.summary
    st.text(f"{words.question(summary)}\n{words.meaning(summary)}")
    frame.metrics(
        {
            "F(x), nats": frame.number(summary["f_input"]),
            "F(x'), baseline": frame.number(summary["f_baseline"]),
            "sum of scores": frame.number(summary["sum"]),
            "completeness": summary["completeness"],
            "gap": frame.number(summary["completeness_gap"]),
            "steps": f"{summary['samples']:,}" if summary["samples"] else "none",
        }
    )
    st.text(words.completeness(summary))


def _tokens(kept: Kept, doubt: str | None) -> None:
    st.header("Scores on the text")
    units: list[TokenScore] = list(kept)
    first = window(len(units), charts_attribution.MOST_UNITS, "units", "tokens_from")
    shown = units[first : first + charts_attribution.MOST_UNITS]
    largest = max((abs(unit.score) for unit in units), default=0.0)
    frame.draw(charts_attribution.tokens(shown, doubt, largest or None), "signed_tokens")


def window(count: int, most: int, what: str, key: str) -> int:
    """Where the part of a long picture begins that is drawn, by a slider; 0 where all fits."""
    if count <= most:
        return 0
    st.caption(f"{most:,} of {count:,} are drawn at once. The table and the downloads hold all.")
    return st.slider("Drawn from", 0, count - most, 0, step=most // 10 or 1, key=key)


def _bars(kept: Kept, doubt: str | None) -> None:
    st.header("Scores as bars")
    st.write("Click a bar to see what was put in the place of that word, and what it did.")
    units: list[TokenScore] = list(kept)
    picked = frame.draw(
        charts_attribution.bars(units, doubt), "score_bars", charts_attribution.PICK
    )
    one = next((u for u in units if u.position == picked.get("position")), None)
    if one is not None:
        _unit(kept, one)


def _unit(kept: Kept, unit: TokenScore) -> None:
    """One unit closely."""
    st.subheader("The chosen word")
    st.code(show_plain(unit.text, 200), language=None)
    rank = sorted(-abs(u.score) for u in kept).index(-abs(unit.score)) + 1
    alone = "" if unit.removal is None else (
        f" Replaced alone, F changes by {-unit.removal:+.4g} nats."
    )  # fmt: skip
    last = unit.position + unit.tokens - 1
    st.text(
        f"Score {unit.score:+.4g} nats, number {rank} of {len(kept)} by size. Characters "
        f"{unit.start} to {unit.end}; tokens {unit.position} to {last}: "
        f'{show_plain(unit.token, 60)}. In its place stood "{show_plain(unit.baseline, 60)}".'
        f"{alone}"
    )


def _receipt(kept: Kept) -> None:
    with st.expander("Receipt and faithfulness", icon=":material/receipt_long:"):
        lines = words.receipt(kept.summary)
        widest = max(len(what) for what, _ in lines)
        st.code(
            "\n".join(f"{what:<{widest}}  {value}" for what, value in lines),
            language=None,
            wrap_lines=True,
        )
        st.text(words.orders(kept.summary))
        found = words.measures(kept.summary)
        if found:
            columns = ["measure", "value", "mean", "low", "high", "p", "what it is"]
            numbers = {
                name: st.column_config.NumberColumn(format="%.4g", width=74)
                for name in columns[1:6]
            }
            st.dataframe(
                pd.DataFrame(found, columns=columns),
                hide_index=True,
                key="faithfulness",
                height="content",
                row_height=58,
                column_config={
                    "measure": st.column_config.TextColumn(width=122),
                    **numbers,
                    "what it is": st.column_config.TextColumn(width=330),
                },
                alt=f"{len(found)} measures of faithfulness beside random orders",
            )


def end(kept: Kept) -> None:
    """Findings, what the numbers rest on, and the result to take away."""
    st.header(f"Findings ({len(kept.findings)})")
    if kept.findings:
        frame.findings_table(kept.findings, "attribution_findings")
    else:
        st.write("None.")
    st.header("What this rests on")
    frame.coverage(kept)
    st.caption("The HTML form holds the scores on the text and the receipt, for a report.")
    frame.downloads(kept, ("json", "csv", "html"), "attribution_download")
