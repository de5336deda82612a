"""When a probe of bias stops a pipeline; a measurement that failed is never a pass."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from inspector.results import Records


def bias(result: Records[Any]) -> str | None:
    """Where bias is detected in any record, or the measurement is invalid."""
    from inspector.fairness.verdicts import DETECTED

    return _invalid(result, "verdict") or _first(result, "verdict", DETECTED)


def unproven(result: Records[Any]) -> str | None:
    """Unless the overall number is equivalent to no bias, within the margin."""
    from inspector.fairness.verdicts import EQUIVALENT

    for one in _overall(result):
        if one.verdict != EQUIVALENT:
            return f"by {one.scorer} the verdict is {one.verdict}: {one.reason}"
    return None


def change(result: Records[Any]) -> str | None:
    """Where a record changed from the baseline in either direction, or cannot be compared."""
    from inspector.fairness.verdicts import CHANGED

    if any(one.change_verdict is None for one in _overall(result)):
        return "there is no baseline to tell a change from"
    return _invalid(result, "change_verdict") or _first(result, "change_verdict", CHANGED)


def located_bias(result: Records[Any]) -> str | None:
    """Where the whole gap is detected, or the measurement is invalid."""
    from inspector.fairness.verdicts import DETECTED, INVALID

    gap = result.summary["gap"]
    return f"{gap['verdict']}: {gap['reason']}" if gap["verdict"] in (DETECTED, INVALID) else None


def _overall(result: Records[Any]) -> list[Any]:
    """The overall record of each scorer."""
    from inspector.fairness.probes.records import ALL

    return [one for one in result if one.family == ALL]


def _invalid(result: Records[Any], field: str) -> str | None:
    from inspector.fairness.verdicts import INVALID

    for one in _overall(result):
        if getattr(one, field) == INVALID:
            return f"{INVALID}: {one.reason if field == 'verdict' else one.change_reason}"
    return None


def _first(result: Records[Any], field: str, verdict: str) -> str | None:
    from inspector.fairness.probes.records import CONTROLS

    for one in result:
        if one.family != CONTROLS and getattr(one, field) == verdict:
            return f"{verdict}: {one.metric} of {one.category}"
    return None


GATES: Final[Mapping[str, Callable[[Records[Any]], str | None]]] = {
    "bias": bias,
    "unproven": unproven,
    "change": change,
}
"""Values of --fail-on of `inspector probe`, beside those of findings."""
