"""A calibration as tables of Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

HEADER: Final = (
    *("planted", "models", "true", "estimate", "estimate less true, over models"),
    *("found", "covers true", "covers planted"),
)


def table(summary: Mapping[str, Any]) -> str:
    """Of each kind of model and probe: dose and response, then what should show nothing."""
    return "\n\n".join(_section(name, one) for name, one in summary.items())


def _section(name: str, one: Mapping[str, Any]) -> str:
    rows = [
        [
            f"{row['planted']:g}",
            f"{row['models']}",
            f"{row['true']:.3f}",
            _number(row["estimate"]),
            "-" if row["error"] is None else _interval(row["error"]),
            _share(row["found"]),
            _share(row["covers_true"]),
            _share(row["covers_planted"]),
        ]
        for row in one["strengths"]
    ]
    told = [f"### {name} ({one['scorer']}, {one['models']} models)", "", *_rows(HEADER, rows), ""]
    fit = one["line"]
    if fit is not None:
        told.append(
            f"* Reading on the corpus's log-odds: slope {fit['slope']:.3f}, intercept "
            f"{fit['intercept']:.3f}, R2 {fit['r2']:.4f}; rising with strength: {one['monotone']}."
        )
    told += [
        f"* False alarms, {what}: {_share(found)}." for what, found in one["false_alarms"].items()
    ]
    told.append(f"* Anti-stereotype found on its own side: {_share(one['sign'])}.")
    told.append(f"* Invalid measurements: {_share(one['invalid'])}.")
    return "\n".join([*told, *(_control(*item) for item in one["not planted"].items())])


def _control(attribute: str, one: Mapping[str, Any]) -> str:
    mean = one["over_models"]
    told = "" if mean is None else f"; mean {_interval(mean)} over models"
    largest = "" if one["largest"] is None else f", largest {one['largest']:.3f}"
    raw = "" if one["raw"] is None else f"; uncorrected {_interval(one['raw'])}"
    return (
        f"* {attribute}, not planted: differs in {_share(one['differs_without_bias'])} without and "
        f"{_share(one['differs_beside_bias'])} beside a planted bias; bias detected "
        f"{_share(one['detected'])}{told}{largest}{raw}."
    )


def _rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---:"] * len(header)
    return [f"| {' | '.join(row)} |" for row in [header, rule, *rows]]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _share(found: Mapping[str, float] | None) -> str:
    if found is None:
        return "-"
    return f"{found['count']} of {found['of']} ({found['low']:.3f} to {found['high']:.3f})"


def _interval(found: Mapping[str, float]) -> str:
    return f"{found['mean']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
