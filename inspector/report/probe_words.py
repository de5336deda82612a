"""What a probe of bias found, in sentences: the verdict, its number, what it rests on."""

from collections.abc import Mapping, Sequence
from typing import Any

from inspector.report.bias_words import LIMITS
from inspector.results import show_plain

CAVEATS = (LIMITS[0][0], LIMITS[3][0])
"""Said with every result of a probe."""


def probe_headlines(summary: Mapping[str, Any], records: Sequence[Any]) -> list[str]:
    """The verdict with its number, what was asked, and what the number does not show."""
    whole = [one for one in records if one.family == records[0].family]
    lines = [_number(one) for one in whole]
    lines += [f"Compared with the baseline: {_change(one)}" for one in whole if one.change_verdict]
    lines += [_asked(summary, records[0]), *_quality(summary)]
    if "agree" in summary and not summary["agree"]:
        lines.append("The scorers do not agree: the choice of scorer decides the verdict.")
    return [*lines, *CAVEATS]


def localize_headlines(summary: Mapping[str, Any], _records: Sequence[Any]) -> list[str]:
    """The whole gap with its verdict, the parts that carry most, and what was put in the place."""
    gap = summary["gap"]
    lines = [
        f"{gap['verdict']}: the whole gap is {_with_range(gap['gap'], gap['low'], gap['high'])} "
        f"{summary['unit']}. {gap['reason']}."
    ]
    for what, most in summary["carries_most"].items():
        share = "" if most["share"] is None else f", {most['share']:.0%} of the gap"
        lines.append(
            f"Of {what} {show_plain(most['name'])} carries most: {most['effect']:.4g}{share}."
        )
    return [*lines, summary["patched"], *CAVEATS]


def calibrate_headlines(summary: Mapping[str, Any], _records: Sequence[Any]) -> list[str]:
    """For each kind of model and probe: how readings follow the truth, and what is found of it."""
    lines = []
    for name, one in summary.items():
        fit = one["line"]
        told = "too few models for a line"
        if fit is not None:
            told = f"reading = {fit['slope']:.3f} x truth + {fit['intercept']:.3f}"
            told += f" (R2 {fit['r2']:.3f})"
        found = ", ".join(
            f"{row['planted']:g}: {_of(row['found'])}" for row in one["strengths"] if row["planted"]
        )
        alarms = ", ".join(f"{what} {_of(share)}" for what, share in one["false_alarms"].items())
        lines.append(
            f"{name} by {one['scorer']}: {told}. Found at {found}; false alarms: {alarms}."
        )
    return lines


def _of(share: Mapping[str, Any] | None) -> str:
    return "none asked" if share is None else f"{share['count']} of {share['of']}"


def _number(one: Any) -> str:
    if one.estimate is None:
        return f"{one.verdict}: {one.reason}."
    return (
        f"{one.verdict}: {one.metric} is {_with_range(one.estimate, one.low, one.high)}"
        f"{'' if one.null is None else f'; without bias {one.null:.4g}'} "
        f"(by {show_plain(one.scorer, 60)}). {one.reason}."
    )


def _change(one: Any) -> str:
    if one.change is None:
        return f"{one.change_verdict}: {one.change_reason}."
    return (
        f"{one.change_verdict}: {_with_range(one.change, one.change_low, one.change_high)} from "
        f"{one.baseline:.4g}. {one.change_reason}."
    )


def _with_range(value: float, low: float | None, high: float | None) -> str:
    ends = "" if low is None or high is None else f" ({low:.4g} to {high:.4g})"
    return f"{value:.4g}{ends}"


def _asked(summary: Mapping[str, Any], one: Any) -> str:
    return (
        f"{show_plain(summary['title'], 100)}: {one.n_items:,} items in {one.n_clusters:,} "
        f"independent clusters, {one.n_ties:,} ties, {one.n_excluded:,} left out, "
        f"{summary['excluded']:,} more when the data was read."
    )


def _quality(summary: Mapping[str, Any]) -> list[str]:
    told = [
        f"{one['metric']} {_with_range(one['estimate'], one['low'], one['high'])}"
        for one in summary["quality"]
        if one["category"] == "all" and one["estimate"] is not None
    ]
    return [f"What the model can do: {', '.join(told)}."] if told else []
