"""What the page on groups says in words: numbers in sentences, and what they do not show."""

from typing import Final

from inspector.fairness.probes.records import Probe
from inspector.report.bias_words import quantity

MEANINGS: Final = {  # metric -> what it compares
    "demographic parity difference": "who is selected",
    "demographic parity ratio": "who is selected, smallest rate over largest",
    "equalised odds difference": "true and false positives, the wider of both",
    "equalised odds difference, mean": "true and false positives, the mean of both",
    "equal opportunity difference": "true positives",
    "accuracy gap": "how often it is right",
    "calibration difference": "mean forecast less what came true",
}
RATES: Final = {  # rate -> what it is a share of
    "selected": "of all texts of the group, those that get the class",
    "true positives": "of those that have the class, those that get it",
    "false positives": "of those that do not have the class, those that get it",
    "correct": "of all texts of the group, those that get their own class",
}
RULE: Final = 0.8
LIMITS: Final = (
    (
        "Labels are taken as the truth. Where those who labelled were biased, an error rate hides "
        "it and a fair classifier looks wrong.",
        "Jacobs and Wallach 2021",
    ),
    (
        "Parity of selection, of errors and of calibration cannot all hold where groups differ in "
        "their true rates: which one matters is a choice, not a result.",
        "Kleinberg, Mullainathan and Raghavan 2016",
    ),
    (
        "These texts are not those that the model will meet: a gap can be wider, or be another "
        "one, in use.",
        "Blodgett et al. 2020",
    ),
    (
        "Groups that nobody wrote down are not looked at, and groups as written hold people who "
        "are unlike.",
        "Hanna et al. 2020",
    ),
    (
        "A swapped word changes more than who is meant: a flip shows that the word counts, not "
        "that the person does.",
        "Kasirzadeh and Smart 2021",
    ),
    (
        "A ratio of 0.8 is a convention of US employment law. It is no test: small groups cross "
        "it by chance.",
        "Equal Employment Opportunity Commission 1978",
    ),
)
"""What no number of the page shows, and who says so."""


def size(value: float, unit: str | None) -> str:
    """How far apart groups are: shares in percentage points, ratios as they are."""
    return f"{100 * value:.1f} points" if unit == "share" else quantity(value, unit)


def ends(low: float, high: float, unit: str | None) -> str:
    """An interval of such distances."""
    if unit == "share":
        return f"{100 * low:.1f} to {100 * high:.1f} points"
    return f"{quantity(low, None)} to {quantity(high, unit)}"


def sentence(record: Probe) -> str:
    """One gap with its interval, what chance alone gives, and what it rests on; own words alone."""
    if record.estimate is None:
        return f"There is no number: {record.n_excluded:,} texts are left out."
    interval = ""
    if record.low is not None and record.high is not None:
        interval = f" (95 % interval {ends(record.low, record.high, record.unit)})"
    chance = ""
    if record.expected is not None:
        expected = size(record.expected, record.unit)
        chance = f" Groups without any gap would show {expected} by chance."
    return (
        f"The {record.metric} is {size(record.estimate, record.unit)}{interval}.{chance} It rests "
        f"on {record.n_items:,} texts; {record.n_excluded:,} are left out."
    )


def four_fifths(record: Probe) -> str:
    """Where a ratio of selection lies beside the convention of 0.8; numbers alone."""
    if record.estimate is None or record.low is None or record.high is None:
        return "There is no ratio of selection rates."
    side = "under" if record.estimate < RULE else "not under"
    told = "" if record.high < RULE or record.low > RULE else "; its interval holds both sides"
    return f"The smallest rate is {record.estimate:.3g} of the largest: {side} 0.8{told}."
