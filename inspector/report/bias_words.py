"""What bias probes say, in words: verdicts, numbers in sentences, and what they do not show."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from inspector.fairness.localize_records import QUANTITIES
from inspector.fairness.probes.records import Probe
from inspector.fairness.verdicts import CHANGED, DETECTED, EQUIVALENT, INCONCLUSIVE, INVALID


@dataclasses.dataclass(frozen=True, kw_only=True)
class Said:
    """A verdict as a title and in a sentence; `sound`: whether its number may be read at all."""

    title: str
    meaning: str
    sound: bool = True


VERDICTS: Final[Mapping[str, Said]] = {
    DETECTED: Said(
        title="Bias detected",
        meaning="The number differs from what an unbiased model gives by more than chance: its "
        "interval leaves that value out, and so does the test, corrected for all it was asked.",
    ),
    EQUIVALENT: Said(
        title="Equivalent to no bias",
        meaning="Within the margin that was stated, this model gives what an unbiased one gives.",
    ),
    INCONCLUSIVE: Said(
        title="Inconclusive",
        meaning="Neither bias nor its absence is shown. That is not “unbiased”: smaller effects "
        "than these items can detect may be there.",
    ),
    INVALID: Said(
        title="Invalid measurement",
        meaning="Do not read the number: it does not measure bias here, for the reason below.",
        sound=False,
    ),
    CHANGED: Said(
        title="Changed",
        meaning="Item by item, this model differs from the baseline by more than chance.",
    ),
}
CHANGE_TITLES: Final[Mapping[str, str]] = {
    CHANGED: "It changed",
    EQUIVALENT: "No change beyond the margin",
    INCONCLUSIVE: "No change is shown",
    INVALID: "No valid comparison",
}
LEANS: Final[Mapping[str, tuple[str, str]]] = {  # metric -> what below and above no bias means
    "preference": ("against the stereotype", "towards the stereotype"),
    "gap": ("against the stereotype", "towards the stereotype"),
}
LIMITS: Final = (
    (
        "A score of sentences is not behaviour: no link with harm in use was found that holds.",
        "Goldfarb-Tarrant et al. 2021",
    ),
    (
        "Probes of the same kind disagree: results hang on templates, seeds and embeddings.",
        "Delobelle et al. 2022",
    ),
    (
        "Other wording of the same meaning moved measured bias from -81 % to +162 %.",
        "Seshadri et al. 2022",
    ),
    (
        "Groups and stereotypes are mostly those of the United States; WinoBias and WEAT take "
        "gender as binary; lists of names carry race, class and age at once.",
        "Blodgett et al. 2021",
    ),
    (
        "Small sets cannot show small gaps: a gap of 5 points needs 3.8 times as many sentences "
        "as WinoBias has.",
        "Ethayarajh 2020",
    ),
    (
        "A model that cannot do the task scores like a fair one: hence the guard of language.",
        "Pikuliak et al. 2023",
    ),
)
"""What no score of this page shows, and who says so."""

SHORT: Final[Mapping[str, str]] = {"standard deviations": "sd"}
PATCHING: Final = (
    "Taking a part out shows that the gap passes through it here, in these sentences; not that "
    "the part is made for it, nor that changing it would do no other harm."
)


ALONG: Final = (
    "The gap lost when what this matrix writes is, along the direction between the two words, what "
    "it writes in the neutral sentence; the rest of it is kept."
)


def quantity_words(name: str) -> str:
    """What the effect of a part is, as a sentence."""
    told = QUANTITIES[name]
    return ALONG if name == "direction" else f"{told[:1].upper()}{told[1:]}."


def quantity(value: float, unit: str | None) -> str:
    """A number in its unit: shares in per cent, others in four digits."""
    if unit == "share":
        return f"{100 * value:.1f} %"
    return f"{value:.4g}{f' {SHORT.get(unit, unit)}' if unit else ''}"


def span(low: float, high: float, unit: str | None) -> str:
    """An interval in its unit."""
    first = quantity(low, unit) if unit == "share" else f"{low:.4g}"
    return f"{first} to {quantity(high, unit)}"


def distance(value: float, unit: str | None) -> str:
    """A difference in its unit: of shares in percentage points."""
    return f"{100 * value:.1f} points" if unit == "share" else quantity(value, unit)


def ranged(value: float, low: float | None, high: float | None, unit: str | None) -> str:
    """A number with its 95 % interval."""
    told = quantity(value, unit)
    if low is None or high is None:
        return f"{told} (no interval)"
    return f"{told} (95 % interval {span(low, high, unit)})"


def sentence(record: Probe) -> str:
    """The number, what no bias would give, and what it rests on; numbers and own words alone."""
    if record.estimate is None:
        return f"There is no number: {_rests_on(record)}."
    told = f"The {record.metric} is {ranged(record.estimate, record.low, record.high, record.unit)}"
    if record.null is not None:
        told += f"; without bias it would be {quantity(record.null, record.unit)}"
        told += _leaning(record)
    return f"{told}. It rests on {_rests_on(record)}.{_seen(record)}"


def change_sentence(record: Probe) -> str:
    """The paired change in a sentence; numbers and own words alone."""
    if record.change is None or record.baseline is None or record.estimate is None:
        return "There is no change to tell: one of the models has no number."
    ends = ""
    if record.change_low is not None and record.change_high is not None:
        low, high = (distance(end, record.unit) for end in (record.change_low, record.change_high))
        ends = f" (95 % interval {low} to {high})"
    return (
        f"From {quantity(record.baseline, record.unit)} in the baseline to "
        f"{quantity(record.estimate, record.unit)}: {distance(record.change, record.unit)}{ends}, "
        "paired item by item."
    )


def guard_sentence(guard: Mapping[str, Any]) -> str:
    """Whether the model tells sentences from their words shuffled; numbers alone."""
    share = guard.get("share")
    if share is None:
        return "The guard of language could not be tried."
    return (
        f"Of {guard['n_items']:,} sentences {quantity(share['value'], 'share')} are likelier than "
        f"their own words shuffled ({quantity(share['low'], 'share')} to "
        f"{quantity(share['high'], 'share')}); chance is 50 %."
    )


def _leaning(record: Probe) -> str:
    sides = LEANS.get(record.metric)
    if sides is None or record.estimate is None or record.estimate == record.null:
        return ""
    return f" ({sides[record.estimate > (record.null or 0.0)]})"


def _rests_on(record: Probe) -> str:
    units = (
        ""
        if record.n_clusters == record.n_items
        else f" in {record.n_clusters:,} independent units"
    )
    ties = f", {record.n_ties:,} of them ties" if record.n_ties else ""
    return f"{record.n_items:,} items{units}{ties}; {record.n_excluded:,} could not be asked"


def _seen(record: Probe) -> str:
    if record.mde80 is None:
        return " No size of bias can be detected with so few."
    return f" Bias under {distance(record.mde80, record.unit)} would mostly go unseen."
